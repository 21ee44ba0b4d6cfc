"""What a table's options demand of every compaction of it: which files may be moved, which must be
read or rewritten, and how keys are merged on the way. Pure.

Spec: maintenance §3.2, §3.4, §4.7, §5; reference classes ``ChangelogMergeTreeRewriter``,
``LookupMergeTreeCompactRewriter``, ``FullChangelogMergeTreeCompactRewriter``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .manifest.entry import DataFile
from .merge.engine import Deduplicate, FirstRow, engine_of
from .options import Producer
from .schema import TableSchema


class Way(StrEnum):
    """What becomes of a file that overlaps no other and changes its level."""

    MOVE = "move"  # by metadata alone
    SCAN = "scan"  # by metadata, but its rows are read for changelog and deletion vectors
    REWRITE = "rewrite"


class Wrapper(StrEnum):
    """How the records of a key are merged in a rewrite."""

    PLAIN = "plain"  # keys with one record are taken as they are
    LOOKUP = "lookup"  # against what lies above the output level
    FULL = "full"  # against what was at the highest level
    FIRST_ROW = "first-row"  # new unless it is there


@dataclass(frozen=True, slots=True)
class CompactionRules:
    """``lookup``: the table looks keys up above the output level when it moves level 0 up.
    ``lowest_level``: of a key's records above level 0 only the one of the lowest level counts,
    wherever they are merged; it was merged with all below when it got there.

    ``keeps_winner``: merging a file with what lies above would not change the file's rows.
    """

    producer: Producer = "none"
    deletion_vectors: bool = False
    lookup: bool = False
    lowest_level: bool = False
    first_row: bool = False
    keeps_winner: bool = True

    @staticmethod
    def of(schema: TableSchema) -> CompactionRules:
        """Append tables have none of this."""
        options = schema.options
        if not schema.keyed:
            return CompactionRules(deletion_vectors=options.deletion_vectors)
        engine = engine_of(schema)
        return CompactionRules(
            producer=options.changelog_producer,
            deletion_vectors=options.deletion_vectors,
            lookup=options.needs_lookup and options.changelog_producer != "full-compaction",
            # With force-lookup also where a full-compaction changelog means that nobody looks up.
            lowest_level=options.needs_lookup and not isinstance(engine, FirstRow),
            first_row=isinstance(engine, FirstRow),
            keeps_winner=isinstance(engine, Deduplicate) and not options.sequence_fields,
        )

    def way(self, file: DataFile, output_level: int, max_level: int) -> Way:
        """What becomes of a file that could be moved to ``output_level``."""
        if self.producer == "full-compaction":
            return Way.SCAN if output_level == max_level else Way.MOVE
        if not self.lookup or file.level != 0:
            return Way.MOVE
        if self.deletion_vectors and file.delete_row_count != 0:
            return Way.REWRITE  # deletes are dropped above level 0
        if output_level == max_level or self.keeps_winner:
            return Way.SCAN
        return Way.REWRITE

    def drops_deletes(self, output_level: int, highest_level: int) -> bool:
        """Whether retracts may go: nothing older can lie below, or vectors mark what does.

        Args:
            highest_level: of all files of the bucket, not only of the inputs.
        """
        return output_level != 0 and (output_level >= highest_level or self.deletion_vectors)

    def wrapper(self, output_level: int, max_level: int, *, has_level0: bool) -> Wrapper:
        """How a rewrite into ``output_level`` merges."""
        if self.producer == "full-compaction" and output_level == max_level:
            return Wrapper.FULL
        if not self.lookup or not has_level0:
            return Wrapper.PLAIN
        return Wrapper.FIRST_ROW if self.first_row else Wrapper.LOOKUP

    @property
    def writes_changelog(self) -> bool:
        """Whether rewrites that are not plain write changelog files."""
        return self.producer in ("lookup", "full-compaction")

    @property
    def lookup_reads_values(self) -> bool:
        """Whether finding a key above is not enough."""
        return not self.first_row and not (
            self.deletion_vectors and self.keeps_winner and self.producer != "lookup"
        )
