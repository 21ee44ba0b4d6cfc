"""Reads what a plan says of a bucket, slice by slice, merged on the way.

Spec: format §8.6, §8.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from . import paths
from .compaction_rules import CompactionRules
from .data_file import OpenFile, opened_soon
from .deletes import Vectors
from .file_rows import RowsWanted, Sift, read_rows
from .handle import TableHandle
from .lsm.slices import slices
from .manifest.entry import DataFile
from .manifest.index import IndexEntry
from .merge.changes import merged_by_lookup
from .merge.engine import engine_of, needed_columns, only_columns
from .merge.feed import feed_of
from .merge.reduce import reduce_feed
from .merge.rule import LEVEL, MergeRule, is_retract
from .predicate.tree import Tree
from .scan_filter import Conjunct, together, tree_of
from .scan_plan import BucketPlan, Part, Way
from .schema import KIND, SEQUENCE, TableSchema
from .vector_files import vectors_in

SCAN_CHUNK_BYTES = 24 * 1024 * 1024
SOON_FILES = 64
"""Files that are begun together; whoever stops reading has asked for no more than these."""


@dataclass(frozen=True, slots=True)
class PredicateSift:
    """The rows that a predicate is true of; all where it cannot be asked yet."""

    columns: Sequence[str]
    tree: Tree
    predicate: pl.Expr = field(compare=False)

    @staticmethod
    def of(conjuncts: Sequence[Conjunct]) -> PredicateSift | None:
        """None where there is nothing to ask: every row is wanted."""
        asked = [c for c in conjuncts if c.separable]
        predicate = together(asked)
        if predicate is None:
            return None
        return PredicateSift(sorted(predicate.meta.root_names()), tree_of(asked), predicate)

    def wanted(self, rows: pl.DataFrame) -> npt.NDArray[np.bool_]:
        passes = self.predicate.fill_null(value=False).alias("\0wanted")
        try:
            return rows.with_columns(passes).get_column("\0wanted").to_numpy()
        except pl.exceptions.PolarsError:  # a row that is not there after the merge, perhaps
            return np.ones(rows.height, dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Sifts:
    """Which rows are read: of overlapping files by their keys alone, of others by anything."""

    keys: Sift | None = None
    rows: Sift | None = None


class BucketReader:
    """Reads buckets of one table.

    Args:
        needed: columns that are given out.
        head: how many rows will do, where every row of every file counts.
    """

    def __init__(
        self,
        handle: TableHandle,
        schema: TableSchema,
        needed: Sequence[str],
        *,
        head: int | None = None,
    ) -> None:
        self._handle = handle
        self._schema = schema
        self._needed = tuple(needed)
        self._head = head
        self._rule = MergeRule.of(schema)

    def read(
        self, plan: BucketPlan, index: Sequence[IndexEntry], sifts: Sifts
    ) -> Iterator[pl.DataFrame]:
        """Merged rows of the bucket, wanted ones at least, without what was deleted.

        Args:
            index: index files with deletion vectors of the bucket's files.
        """
        if not plan.parts:
            return
        folder = paths.bucket_dir(self._handle.root, plan.text, plan.bucket)
        place = _Place(folder, vectors_in(self._handle, index))
        for part in plan.parts:
            if part.way is Way.ROWS:
                yield from self._rows(place, part, sifts.rows)
            else:
                yield from self._merged(place, part, sifts.keys)

    def _rows(self, place: _Place, part: Part, sift: Sift | None) -> Iterator[pl.DataFrame]:
        """Files whose rows are final."""
        schema = self._schema
        system = (*self._rule.keys, SEQUENCE, KIND) if schema.keyed else ()
        looked = () if sift is None else sift.columns
        fields = [f for f in schema.physical if f.name in {*system, *self._needed, *looked}]
        wanted = RowsWanted(
            fields or schema.physical[:1], SCAN_CHUNK_BYTES, sift,
            self._head if sift is None else None,
        )  # fmt: skip
        few = SOON_FILES if self._head is None else 1
        for at in range(0, len(part.files), few):
            files = part.files[at : at + few]
            with opened_soon(self._handle.storage, place.folder, files):
                for frame in (f for file in files for f in self._file(place, file, wanted)):
                    rows = frame.filter(~is_retract()) if schema.keyed else frame
                    yield rows.select(self._needed) if self._needed else rows

    def _merged(self, place: _Place, part: Part, sift: Sift | None) -> Iterator[pl.DataFrame]:
        """Files that may hold the same keys."""
        schema, rule = self._schema, self._rule
        looked = () if sift is None else sift.columns
        engine = engine_of(schema)
        columns = needed_columns(
            engine, tuple(n for n in schema.names if n in {*self._needed, *looked})
        )
        fields = [f for f in schema.physical if f.name in {*rule.columns, *looked, *columns}]
        wanted = RowsWanted(fields, SCAN_CHUNK_BYTES, sift)
        engine = only_columns(engine, columns)
        lookup = CompactionRules.of(schema).lowest_level
        runs = [self._run(place, run, wanted, lookup=lookup) for run in part.runs]
        merge = merged_by_lookup if lookup else reduce_feed
        files = [file for run in part.runs for file in run]
        with opened_soon(self._handle.storage, place.folder, files):
            for frames in slices(runs, rule):
                rows = merge(feed_of(frames, rule), rule, engine).kept(drop_deletes=True)
                yield rows.select(self._needed) if self._needed else rows

    def _run(
        self, place: _Place, files: Sequence[DataFile], wanted: RowsWanted, *, lookup: bool
    ) -> Iterator[pl.DataFrame]:
        for file in files:
            level = pl.lit(file.level, pl.Int32).alias(LEVEL)
            for frame in self._file(place, file, wanted):
                if frame.height:
                    yield frame.with_columns(level) if lookup else frame

    def _file(self, place: _Place, file: DataFile, wanted: RowsWanted) -> Iterator[pl.DataFrame]:
        opened = OpenFile(self._handle, self._schema, place.folder, file)
        return read_rows(opened, self._schema, wanted, place.deletions.get(file.name))


@dataclass(frozen=True, slots=True)
class _Place:
    """A bucket's folder and deleted rows."""

    folder: str
    deletions: Vectors
