"""Typed view over a table's string options (what is refused: `options_refused`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from .duration import parse_duration
from .option_values import MIB, OptionValues
from .options_expiry import ExpiryOptions
from .options_full import FullOptions
from .options_partitions import PartitionOptions
from .options_tags import TagOptions

Producer = Literal["none", "input", "lookup", "full-compaction"]

BUCKETS_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class TableOptions(OptionValues):
    """Options of one table as values; defaults are Paimon's."""

    keyed: bool

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
        return self.names("sequence.field")

    @property
    def sequence_descending(self) -> bool:
        return self.text("sequence.field.sort-order", "ascending").lower() == "descending"

    @property
    def changelog_producer(self) -> Producer:
        return cast(Producer, self.text("changelog-producer", "none").lower())

    @property
    def row_deduplicate(self) -> bool:
        """An update that changes nothing is no change."""
        return self.flag("changelog-producer.row-deduplicate", default=False)

    @property
    def row_deduplicate_ignored(self) -> tuple[str, ...]:
        return self.names("changelog-producer.row-deduplicate-ignore-fields")

    @property
    def deletion_vectors(self) -> bool:
        return self.flag("deletion-vectors.enabled", default=False)

    @property
    def deletion_vectors_wide(self) -> bool:
        """Vectors in the 64-bit layout."""
        return self.flag("deletion-vectors.bitmap64", default=False)

    @property
    def merge_on_read(self) -> bool:
        """Level 0 is read although there are deletion vectors."""
        return self.flag("deletion-vectors.merge-on-read", default=False)

    @property
    def deletion_file_target_bytes(self) -> int:
        return self.size("deletion-vector.index-file.target-size", 2 * MIB)

    @property
    def delete_ratio_threshold(self) -> float:
        """Append files with more of their rows deleted are rewritten."""
        return self.ratio("compaction.delete-ratio-threshold", 0.2)

    @property
    def needs_lookup(self) -> bool:
        """Level 0 is moved up at once, and keys are looked up above the output level."""
        return self.keyed and (
            self.changelog_producer == "lookup"
            or self.deletion_vectors
            or self.merge_engine == "first-row"
            or self.flag("force-lookup", default=False)
        )

    @property
    def hides_level0(self) -> bool:
        """Batch reads see only what was compacted."""
        if not self.keyed:
            return False
        first_row = self.merge_engine == "first-row"
        return first_row or (self.deletion_vectors and not self.merge_on_read)

    @property
    def lookup_interval(self) -> int | None:
        """Level-0 files that force a lookup compaction in gentle mode; None: any."""
        own = self.number("lookup-compact.max-interval", 2 * self.trigger)
        if self.text("lookup-compact", "radical").lower() == "radical":
            return None
        return max(self.trigger, own)

    @property
    def forces_level0(self) -> bool:
        return self.needs_lookup or self.flag("compaction.force-up-level-0", default=False)

    @property
    def read_delay_millis(self) -> int:
        """Followers see a snapshot this long after it was made."""
        return self.millis("streaming.read.snapshot.delay", 0)

    @property
    def expire_seconds(self) -> int | None:
        """Records older than this vanish in compactions; None: they stay."""
        if "record-level.expire-time" not in self.raw:
            return None
        key = "record-level.expire-time"
        return parse_duration(self.raw[key], key) // 1000

    @property
    def expire_field(self) -> str:
        return self.text("record-level.time-field", "")

    @property
    def changelog_prefix(self) -> str:
        return self.text("changelog-file.prefix", "changelog-")

    @property
    def changelog_compression(self) -> str:
        return self.text("changelog-file.compression", self.compression).lower()

    @property
    def changelog_stats_mode(self) -> str:
        return self.text("changelog-file.stats-mode", self.stats_mode).lower()

    @property
    def row_kind_field(self) -> str | None:
        return self.text("rowkind.field", "") or None

    @property
    def ignore_update_before(self) -> bool:
        return self.flag("ignore-update-before", default=False)

    @property
    def merge_engine(self) -> str:
        return self.text("merge-engine", "deduplicate").lower()

    @property
    def ignore_delete(self) -> bool:
        """Retracts are skipped; the keys of older releases count, too."""
        engines = ("first-row", "deduplicate", "partial-update")
        for key in ("ignore-delete", *(f"{engine}.ignore-delete" for engine in engines)):
            if key in self.raw:
                return self.flag(key, default=False)
        return False

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

    @property
    def tags(self) -> TagOptions:
        return TagOptions(self)

    @property
    def partitions(self) -> PartitionOptions:
        return PartitionOptions(self)

    @property
    def manifest_drops_stats(self) -> bool:
        """A DELETE in a manifest says nothing of the file's values."""
        return self.flag("manifest.delete-file-drop-stats", default=False)

    @property
    def full(self) -> FullOptions:
        return FullOptions(self)
