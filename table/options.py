"""Typed view over a table's string options, and what this release refuses.

Unknown options that cannot change the meaning of files are left alone; those that can are refused
by name (reference: maintenance §0.1 last paragraph, §8.7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .duration import parse_duration
from .errors import UnsupportedFeature
from .options_expiry import ExpiryOptions

MIB = 1024 * 1024

BUCKETS_MAX = 2**31 - 1
_STATS_MODE = re.compile(r"none|counts|full|truncate\(\s*0*[1-9]\d*\s*\)")
_SIZE = re.compile(r"^\s*(\d+)\s*([a-z]*)\s*$")
_UNITS = {
    "": 1, "b": 1, "bytes": 1,
    "k": 1024, "kb": 1024, "kibibytes": 1024,
    "m": MIB, "mb": MIB, "mebibytes": MIB,
    "g": 1024 * MIB, "gb": 1024 * MIB, "gibibytes": 1024 * MIB,
    "t": MIB * MIB, "tb": MIB * MIB, "tebibytes": MIB * MIB,
}  # fmt: skip

# Options whose value must be one of these, or desilt does not touch the table.
ONLY: dict[str, frozenset[str]] = {
    "merge-engine": frozenset({"deduplicate"}),
    "changelog-producer": frozenset({"none"}),
    "deletion-vectors.enabled": frozenset({"false"}),
    "type": frozenset({"table"}),
    "pk-clustering-override": frozenset({"false"}),
    "chain-table.enabled": frozenset({"false"}),
    "data-evolution.enabled": frozenset({"false"}),
    "row-tracking.enabled": frozenset({"false"}),
    "bucket-function.type": frozenset({"default"}),
    "data-file.thin-mode": frozenset({"false"}),
    "index-file-in-data-file-dir": frozenset({"false"}),
    "sequence.snapshot-ordering": frozenset({"false"}),
    "primary-key.nullable": frozenset({"false"}),
    "lookup.remote-file.enabled": frozenset({"false"}),
    "force-lookup": frozenset({"false"}),
    "compaction.force-up-level-0": frozenset({"false"}),
    "metadata.iceberg.storage": frozenset({"disabled"}),
    "file.format": frozenset({"parquet"}),
    "manifest.format": frozenset({"avro"}),
    "data-file.external-paths.strategy": frozenset({"none"}),
    "ignore-delete": frozenset({"false"}),
    "deduplicate.ignore-delete": frozenset({"false"}),
    "clustering.incremental": frozenset({"false"}),
    "write.sequence-number-init-mode": frozenset({"scan"}),
}

# Options whose mere presence changes what a compaction must do.
ABSENT = (
    "record-level.expire-time",
    "commit.callbacks",
    "data-file.external-paths",
    "file.format.per.level",
    "rowkind.field",
    "file-index.bloom-filter.columns",
    "file-index.bitmap.columns",
    "file-index.bsi.columns",
    "file-index.range-bitmap.columns",
)


def parse_size(text: str, key: str) -> int:
    """Bytes of Paimon size text such as ``128 mb``; a bad one is refused with its key."""
    match = _SIZE.match(text.lower())
    if match is None or match[2] not in _UNITS:
        raise UnsupportedFeature("option value is no size", option=key, value=text)
    return int(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True, slots=True)
class TableOptions:
    """Options of one table as values; defaults are Paimon's.

    Sizes in bytes, percents as whole numbers.
    """

    raw: Mapping[str, str]
    keyed: bool

    def text(self, key: str, default: str) -> str:
        return self.raw.get(key, default).strip()

    def number(self, key: str, default: int) -> int:
        value = self.raw.get(key)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError:
            raise UnsupportedFeature("option value is no number", option=key, value=value) from None

    def ratio(self, key: str, default: float) -> float:
        value = self.raw.get(key)
        if value is None:
            return default
        try:
            return float(value)
        except ValueError:
            raise UnsupportedFeature("option value is no number", option=key, value=value) from None

    def size(self, key: str, default: int) -> int:
        value = self.raw.get(key)
        return default if value is None else parse_size(value, key)

    def millis(self, key: str, default: int) -> int:
        value = self.raw.get(key)
        return default if value is None else parse_duration(value, key)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self.raw.get(key)
        if value is None:
            return default
        if value.strip().lower() not in ("true", "false"):
            raise UnsupportedFeature("option value is no boolean", option=key, value=value)
        return value.strip().lower() == "true"

    @property
    def bucket(self) -> int:
        return self.number("bucket", -1)

    @property
    def target_file_bytes(self) -> int:
        return self.size("target-file-size", (128 if self.keyed else 256) * MIB)

    @property
    def small_file_bytes(self) -> float:
        """Files below this many bytes are small."""
        return self.target_file_bytes * self.ratio("compaction.small-file-ratio", 0.7)

    @property
    def trigger(self) -> int:
        return self.number("num-sorted-run.compaction-trigger", 5)

    @property
    def stop_trigger(self) -> int:
        """Runs from which writers block: at least the trigger (reference: maintenance §1)."""
        return max(self.trigger, self.number("num-sorted-run.stop-trigger", self.trigger + 3))

    @property
    def levels(self) -> int:
        """Number of levels, level 0 included."""
        return self.number("num-levels", self.trigger + 1)

    @property
    def size_amplification_percent(self) -> int:
        return self.number("compaction.max-size-amplification-percent", 200)

    @property
    def size_ratio_percent(self) -> int:
        return self.number("compaction.size-ratio", 1)

    @property
    def min_file_num(self) -> int:
        return self.number("compaction.min.file-num", 5)

    @property
    def open_file_cost(self) -> int:
        return self.size("source.split.open-file-cost", 4 * MIB)

    @property
    def default_partition(self) -> str:
        return self.text("partition.default-name", "__DEFAULT_PARTITION__")

    @property
    def legacy_partition_names(self) -> bool:
        return self.flag("partition.legacy-name", default=True)

    @property
    def sequence_fields(self) -> tuple[str, ...]:
        return tuple(f.strip() for f in self.text("sequence.field", "").split(",") if f.strip())

    @property
    def sequence_descending(self) -> bool:
        return self.text("sequence.field.sort-order", "ascending").lower() == "descending"

    @property
    def stats_mode(self) -> str:
        return self.text("metadata.stats-mode", "truncate(16)").lower()

    @property
    def dense_stats(self) -> bool:
        return self.flag("metadata.stats-dense-store", default=True)

    @property
    def compression(self) -> str:
        return self.text("file.compression", "zstd").lower()

    @property
    def zstd_level(self) -> int:
        return self.number("file.compression.zstd-level", 1)

    @property
    def manifest_target_bytes(self) -> int:
        return self.size("manifest.target-file-size", 8 * MIB)

    @property
    def manifest_full_threshold_bytes(self) -> int:
        return self.size("manifest.full-compaction-threshold-size", 16 * MIB)

    @property
    def manifest_merge_min_count(self) -> int:
        return self.number("manifest.merge-min-count", 30)

    @property
    def data_file_prefix(self) -> str:
        return self.text("data-file.prefix", "data-")

    @property
    def force_rewrite_all(self) -> bool:
        return self.flag("compaction.force-rewrite-all-files", default=False)

    @property
    def append_ordered(self) -> bool:
        return self.flag("bucket-append-ordered", default=True)

    @property
    def expiry(self) -> ExpiryOptions:
        return ExpiryOptions(self)


_COMPRESSIONS = frozenset({"zstd", "snappy", "lz4", "gzip", "none", "uncompressed"})


def refuse_unsupported(options: TableOptions) -> None:
    """Raise for options that change what files mean in a way this release does not know.

    Raises:
        UnsupportedFeature: naming option and value.
    """
    for key, allowed in ONLY.items():
        value = options.raw.get(key)
        if value is not None and value.strip().lower() not in allowed:
            raise UnsupportedFeature("option is not supported", option=key, value=value)
    for key in ABSENT:
        if key in options.raw:
            raise UnsupportedFeature("option is not supported", option=key, value=options.raw[key])
    for key in options.raw:
        if key.startswith("fields.") and not key.endswith(".stats-mode"):
            raise UnsupportedFeature("option is not supported", option=key, value=options.raw[key])
    if options.compression not in _COMPRESSIONS:
        raise UnsupportedFeature(
            "option is not supported", option="file.compression", value=options.compression
        )
    if options.text("sequence.field.sort-order", "ascending").lower() not in (
        "ascending",
        "descending",
    ):
        raise UnsupportedFeature(
            "option is not supported",
            option="sequence.field.sort-order",
            value=options.raw["sequence.field.sort-order"],
        )
    _refuse_bucket_mode(options)
    _check_numbers(options)
    _check_texts(options)


def _refuse_bucket_mode(options: TableOptions) -> None:
    bucket = options.bucket
    if bucket == -1 and options.keyed:
        raise UnsupportedFeature("dynamic buckets are not supported", option="bucket", value=bucket)
    if bucket == -2:
        raise UnsupportedFeature(
            "postpone buckets are not supported", option="bucket", value=bucket
        )
    if bucket == 0 or bucket < -2 or bucket > BUCKETS_MAX:
        raise UnsupportedFeature("bucket count is invalid", option="bucket", value=bucket)


def _check_numbers(options: TableOptions) -> None:
    """Touch every typed option once, so that a bad value is found when the table is opened."""
    for name in (
        "target_file_bytes", "small_file_bytes", "trigger", "stop_trigger", "levels",
        "size_amplification_percent", "size_ratio_percent", "min_file_num", "open_file_cost",
        "legacy_partition_names", "dense_stats", "zstd_level", "manifest_target_bytes",
        "manifest_full_threshold_bytes", "manifest_merge_min_count", "force_rewrite_all",
        "append_ordered",
    ):  # fmt: skip
        getattr(options, name)
    if options.trigger < 2:
        raise UnsupportedFeature(
            "trigger is too small",
            option="num-sorted-run.compaction-trigger",
            value=options.trigger,
        )
    if options.levels < 2:
        raise UnsupportedFeature("too few levels", option="num-levels", value=options.levels)
    if not 1 <= options.zstd_level <= 22:
        raise UnsupportedFeature(
            "zstd has no such level", option="file.compression.zstd-level", value=options.zstd_level
        )
    retries = options.number("commit.max-retries", 0)
    if retries < 0:
        raise UnsupportedFeature(
            "option value is negative", option="commit.max-retries", value=retries
        )


def _check_texts(options: TableOptions) -> None:
    """The same for options that are neither numbers nor one of a few words."""
    for key, value in options.raw.items():
        mode = key == "metadata.stats-mode" or key.endswith(".stats-mode")
        if mode and not _STATS_MODE.fullmatch(value.strip().lower()):
            raise UnsupportedFeature("unknown stats mode", option=key, value=value)
    prefix = options.data_file_prefix
    if "/" in prefix or "\\" in prefix:
        raise UnsupportedFeature(
            "file names would leave their directory", option="data-file.prefix", value=prefix
        )
