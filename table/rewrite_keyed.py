"""A part of a keyed bucket's compaction: sorted runs merged slice by slice into new files.

Where the table's rules ask for it, keys are looked up above the output level, and what became of
them goes into changelog files beside the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
import polars as pl

from .ahead import Beside, ahead
from .compaction_rules import CompactionRules, Wrapper
from .decision import RewritePlan, SectionNames
from .deletes import Vectors
from .lookup import Lookup, LookupFiles
from .lsm.order import order_frame
from .lsm.slices import slices
from .manifest.entry import DataFile
from .merge.changes import (
    Changes,
    Deduplication,
    changes_at_top,
    changes_by_lookup,
    changes_of_first_rows,
    merged_by_lookup,
)
from .merge.engine import engine_of
from .merge.feed import Feed, Mask, feed_of
from .merge.reduce import reduce_feed
from .merge.rule import LEVEL, RETRACT_KINDS, MergeRule
from .rewrite_part import PartContext, PartResult
from .schema import KIND
from .side_writer import SideWriter
from .verify_keyed import ChangelogCheck, KeyedExpectation, Merging, check_keyed


def rewrite_keyed(context: PartContext, part: RewritePlan, written: list[str]) -> PartResult:
    """Write and verify.

    Args:
        written: gets the path of every file that was begun.
    """
    return _KeyedRewrite(context, part, written).run()


class _KeyedRewrite:
    """One part being acted out."""

    def __init__(self, context: PartContext, part: RewritePlan, written: list[str]) -> None:
        self._context = context
        self._part = part
        self._written = written
        schema = context.schema
        self._rule = MergeRule.of(schema)
        self._engine = engine_of(schema)
        self._rules = CompactionRules.of(schema)
        self._same = Deduplication.of(schema)
        self._lookup = self._opened_lookup()
        merging = Merging(
            self._rule,
            self._engine,
            part.wrapper,
            self._rules.lowest_level,
            context.max_level,
            self._same.names,
        )
        self._checked = context.checked_columns
        self._expected = KeyedExpectation(merging, self._checked, drop_deletes=part.drop_deletes)
        self._changelog = ChangelogCheck(merging, self._checked)
        self._side: SideWriter | None = None
        self._seen = 0

    def run(self) -> PartResult:
        if not self._part.changelog:
            return self._verified(self._data_files(), ())
        writer = self._context.writer(changelog=True)
        try:
            with SideWriter(writer) as side:
                self._side = side
                files = self._data_files()
                changelog = side.finish()
        finally:
            self._written += writer.paths
        return self._verified(files, changelog)

    def _data_files(self) -> tuple[DataFile, ...]:
        with closing(ahead(self._merged())) as frames:
            if not self._part.writes:
                for _ in frames:
                    continue  # only what becomes of the keys is wanted
                return ()
            writer = self._context.writer()
            try:
                return writer.write(frames)
            finally:
                self._written += writer.paths

    def _verified(self, files: tuple[DataFile, ...], changelog: tuple[DataFile, ...]) -> PartResult:
        context, checked = self._context, self._checked
        context.check_rows_seen(self._part.names, self._seen)
        columns = tuple(dict.fromkeys((*self._rule.columns, *checked)))
        if self._part.writes:
            with closing(ahead(context.read_back(files, columns))) as back:
                check_keyed(self._expected, back, checked)
        if self._part.changelog:
            with closing(ahead(context.read_back(changelog, columns))) as back:
                self._changelog.check(back, self._expected)
        marked = self._lookup is not None and self._rules.deletion_vectors
        marks: Vectors = self._lookup.marks if self._lookup and marked else {}
        return PartResult(files, changelog, marks)

    # --- merging ----------------------------------------------------------------------------------

    def _merged(self) -> Iterator[pl.DataFrame]:
        with Beside() as checks:
            for section in self._part.sections:
                names = [name for run in section for name in run]
                read = closing(ahead(slices(self._runs(section), self._rule)))
                with self._context.soon(names), read as sliced:
                    for frames in sliced:
                        self._seen += sum(f.height for f in frames)
                        yield self._slice([self._unexpired(f) for f in frames], checks)

    def _runs(self, section: SectionNames) -> list[Iterator[pl.DataFrame]]:
        limit = self._context.chunk_bytes(len(section))
        return [self._run(run, limit) for run in section]

    def _run(self, names: Sequence[str], limit: int) -> Iterator[pl.DataFrame]:
        for file, frame in self._context.run(names, limit):
            yield frame.with_columns(pl.lit(file.level, pl.Int32).alias(LEVEL))

    def _unexpired(self, frame: pl.DataFrame) -> pl.DataFrame:
        expiry = self._context.expiry
        if expiry is None:
            return frame
        return frame.filter(expiry.keep(self._context.schema.column(expiry.column).type))

    def _slice(self, frames: list[pl.DataFrame], checks: Beside) -> pl.DataFrame:
        """One key range, merged; changes go to their writer on the way. What must come of it is
        found out meanwhile."""
        feed = feed_of(frames, self._rule)
        known: Mask | None = None
        if self._lookup is not None:
            more, known = self._looked_up(frames, feed, self._lookup)
            if len(more) > len(frames):
                frames, feed = more, feed_of(more, self._rule)
        checks.do(self._expected.observe, frames, self._known_keys(feed, known))
        changes = self._changes(feed, known)
        if self._side is not None:
            self._changelog.observe(changes.changelog)
            self._side.put(changes.changelog)
        if not self._part.drop_deletes:
            return changes.rows
        return changes.rows.filter(~pl.col(KIND).is_in(RETRACT_KINDS))

    def _changes(self, feed: Feed, known: Mask | None) -> Changes:
        rule, engine, same = self._rule, self._engine, self._same
        match self._part.wrapper:
            case Wrapper.LOOKUP:
                return changes_by_lookup(feed, rule, engine, same)
            case Wrapper.FULL:
                lowest = self._rules.lowest_level
                top = self._context.max_level
                return changes_at_top(feed, rule, engine, same, top, lowest_level=lowest)
            case Wrapper.FIRST_ROW:
                nothing = np.zeros(len(feed.starts), dtype=np.bool_)
                return changes_of_first_rows(
                    feed, rule, engine, nothing if known is None else known
                )
            case Wrapper.PLAIN:
                merge = merged_by_lookup if self._rules.lowest_level else reduce_feed
                rows = merge(feed, rule, engine).kept(drop_deletes=False).drop(LEVEL)
                return Changes(rows, rows.clear())

    # --- looking up -------------------------------------------------------------------------------

    def _opened_lookup(self) -> Lookup | None:
        context, part = self._context, self._part
        if part.wrapper not in (Wrapper.LOOKUP, Wrapper.FIRST_ROW) or not context.lookups:
            return None
        files = LookupFiles(
            context.handle,
            context.schema,
            context.folder,
            context.lookups,
            context.deletions,
            context.chunk_bytes(2),
            # Whether a first row is there is asked of all rows, expired ones too.
            None if part.wrapper is Wrapper.FIRST_ROW else context.expiry,
        )
        values = context.schema.physical if self._rules.lookup_reads_values else None
        return Lookup(files, values)

    def _looked_up(
        self, frames: list[pl.DataFrame], feed: Feed, lookup: Lookup
    ) -> tuple[list[pl.DataFrame], Mask]:
        """The frames, with what was found of keys that no input has above level 0; and which."""
        known = np.zeros(len(feed.starts), dtype=np.bool_)
        levels = feed.column(LEVEL).to_numpy()
        wanted = np.flatnonzero(~np.logical_or.reduceat(levels > 0, feed.starts))
        if len(wanted) == 0:
            return frames, known
        keys = feed.rows[pl.Series(feed.first[wanted])].select(self._rule.keys)
        found = lookup.find(keys)
        known[wanted] = found.known
        if found.rows is not None:
            frames = [*frames, found.rows.select(frames[0].columns)]
        return frames, known

    def _known_keys(self, feed: Feed, known: Mask | None) -> pl.DataFrame | None:
        if known is None or self._part.wrapper is not Wrapper.FIRST_ROW:
            return None
        rows = feed.rows[pl.Series(feed.first[known])]
        return order_frame(rows, self._rule.keys, self._rule.key_types)
