"""What this release refuses of a table's options, by name.

Options that cannot change the meaning of files are left alone, unknown ones too; those that can are
honoured or refused. Every option of Paimon 2.0.0 stands in ``docs/table-options.md``.

Spec: maintenance §0.1 last paragraph, §8.7.
"""

from __future__ import annotations

import re

from .errors import UnsupportedFeature
from .options import BUCKETS_MAX, TableOptions

_STATS_MODE = re.compile(r"none|counts|full|truncate\(\s*0*[1-9]\d*\s*\)")
_FILE_INDEX = re.compile(r"file-index\..+\.columns")
_MAP_LAYOUT = re.compile(r"fields\..+\.map\.storage-layout")

# Options whose value must be one of these, or desilt does not touch the table.
ONLY: dict[str, frozenset[str]] = {
    "merge-engine": frozenset({"deduplicate", "partial-update", "aggregation", "first-row"}),
    "changelog-producer": frozenset({"none", "input", "lookup", "full-compaction"}),
    "lookup-compact": frozenset({"radical", "gentle"}),
    "changelog-file.format": frozenset({"parquet"}),
    "type": frozenset({"table"}),
    "branch": frozenset({"main"}),
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
    "metadata.iceberg.storage": frozenset({"disabled"}),
    "metadata.iceberg-compatible": frozenset({"false"}),
    "file.format": frozenset({"parquet"}),
    "manifest.format": frozenset({"avro"}),
    "data-file.external-paths.strategy": frozenset({"none"}),
    "clustering.incremental": frozenset({"false"}),
    "visibility-callback.enabled": frozenset({"false"}),
    "write.sequence-number-init-mode": frozenset({"scan"}),
    "partition.timestamp-format.strict": frozenset({"false"}),
    "query-auth.enabled": frozenset({"false"}),
}

# Options whose mere presence changes what a read, a write or a compaction must do.
ABSENT = (
    "primary-key",  # keys stand in the schema; engines move these two there
    "partition",
    "scan.fallback-branch",
    "scan.primary-branch",
    "upsert-key",
    "commit.strict-mode.last-safe-snapshot",
    "commit.callbacks",
    "tag.callbacks",
    "data-file.path-directory",
    "blob-field",
    "blob-descriptor-field",
    "blob.stored-descriptor-fields",
    "blob-view-field",
    "vector-field",
    "pk-vector.index.columns",
    "pk-btree.index.columns",
    "pk-bitmap.index.columns",
    "pk-full-text.index.columns",
    "pk-multivalue.index.columns",
    "data-file.external-paths",
    "file.format.per.level",
)

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
    for key, value in options.raw.items():
        if _refused_by_pattern(key, value):
            raise UnsupportedFeature("option is not supported", option=key, value=value)
    for key, codec in (
        ("file.compression", options.compression),
        ("changelog-file.compression", options.changelog_compression),
    ):
        if codec not in _COMPRESSIONS:
            raise UnsupportedFeature("option is not supported", option=key, value=codec)
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


def _refused_by_pattern(key: str, value: str) -> bool:
    """File indexes of any kind, and maps that are laid out in another way."""
    if _FILE_INDEX.fullmatch(key):
        return True
    return _MAP_LAYOUT.fullmatch(key) is not None and value.strip().lower() != "default"


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
        "append_ordered", "row_deduplicate", "deletion_vectors", "deletion_vectors_wide",
        "merge_on_read", "deletion_file_target_bytes", "delete_ratio_threshold", "ignore_delete",
        "ignore_update_before", "forces_level0", "lookup_interval", "expire_seconds",
        "manifest_drops_stats",
    ):  # fmt: skip
        getattr(options, name)
    for name in ("commits", "interval_millis", "below_bytes", "above_bytes"):
        getattr(options.full, name)
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
    for key, prefix in (
        ("data-file.prefix", options.data_file_prefix),
        ("changelog-file.prefix", options.changelog_prefix),
    ):
        if "/" in prefix or "\\" in prefix:
            raise UnsupportedFeature(
                "file names would leave their directory", option=key, value=prefix
            )
