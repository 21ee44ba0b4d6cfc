"""Makes the plan: looks at the table once, decides, and asks everybody who holds files.

The order of looking matters: what goes is read before those who hold files, so that somebody who
comes meanwhile is either asked here or found new when the plan is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from ..handle import TableHandle
from ..retention import (
    Override,
    Retention,
    changelog_retention,
    check_expirable,
    retention_of,
)
from ..schema import TableSchema
from ..snapshot import Snapshot
from .candidates import CandidateFinder, Candidates
from .files import (
    EVERYTHING,
    FILES_SCHEMA,
    REMOVED_SCHEMA,
    FileKind,
    MetadataKind,
    changelog_files,
    metadata_files,
    placed,
)
from .holders import digest, kept_chain, read_holders
from .names import NameReader
from .plan import ExpiryPlan, Going, Part, Protection, empty_part
from .range import NOTHING_IN_USE, InUse
from .reach import Reach, ReachReader


def plan_expiry(
    handle: TableHandle,
    override: Override | None = None,
    *,
    in_use: InUse = NOTHING_IN_USE,
    names: NameReader | None = None,
) -> ExpiryPlan:
    """What an expiry would do now.

    Args:
        override: bounds in place of the table's own.
        in_use: what running tasks read; it stays.
        names: metadata read before; a fresh reader by default.

    Raises:
        TableMissing, UnsupportedFeature, CorruptTable, StorageUnavailable: as named.
        CommitConflict: the table changed while it was looked at; look again.
    """
    schema = handle.latest_schema()
    check_expirable(schema)
    retention = retention_of(schema.options.expiry, override)
    reader = names or NameReader(handle)
    finder = CandidateFinder(handle, retention, in_use, reader)
    return _Planner(handle, schema, retention, finder, reader).plan()


def plan_changelog_expiry(
    handle: TableHandle,
    override: Override | None = None,
    *,
    limit: int | None = None,
    everything: bool = False,
    in_use: InUse = NOTHING_IN_USE,
    names: NameReader | None = None,
) -> ExpiryPlan:
    """What an expiry of long-lived changelogs alone would do now; no snapshot goes.

    Args:
        override: bounds in place of the table's own for changelogs.
        limit: how many go in one run, in place of ``snapshot.expire.limit``.
        everything: all that no consumer has still to read, whatever the bounds.

    Raises:
        As `plan_expiry`.
    """
    schema = handle.latest_schema()
    check_expirable(schema)
    retention = changelog_retention(schema.options.expiry, override)
    if limit is not None:
        retention = replace(retention, limit=limit)
    reader = names or NameReader(handle)
    finder = CandidateFinder(handle, retention, in_use, reader)
    return _Planner(handle, schema, retention, finder, reader).changelogs(everything=everything)


class _Planner:
    """One look at one table."""

    def __init__(
        self,
        handle: TableHandle,
        schema: TableSchema,
        retention: Retention,
        finder: CandidateFinder,
        names: NameReader,
    ) -> None:
        self._handle = handle
        self._schema = schema
        self._retention = retention
        self._finder = finder
        self._names = names

    @property
    def _decoupled(self) -> bool:
        return self._retention.changelogs is not None

    def plan(self) -> ExpiryPlan:
        finder = self._finder
        if not finder.ids:
            return self._whole(empty_part(1, ""), None)
        snapshots = finder.snapshots()
        changelogs = finder.changelogs(snapshots.members) if self._decoupled else None
        if not snapshots.members and (changelogs is None or not changelogs.members):
            later = None if changelogs is None else _nothing(changelogs)
            return self._whole(_nothing(snapshots), later)
        return self._asked(snapshots, changelogs)

    def changelogs(self, *, everything: bool) -> ExpiryPlan:
        """The plan of an expiry of changelogs alone."""
        finder = self._finder
        if not finder.ids:
            return self._whole(empty_part(1, ""), None)
        snapshots, changelogs = finder.no_snapshots(), finder.changelogs((), everything=everything)
        if changelogs is None or not changelogs.members:
            later = None if changelogs is None else _nothing(changelogs)
            return self._whole(_nothing(snapshots), later)
        return self._asked(snapshots, changelogs)

    # --- asking who holds them ------------------------------------------------------------------

    def _asked(self, snapshots: Candidates, changelogs: Candidates | None) -> ExpiryPlan:
        until, find = snapshots.range.until, self._finder.snapshot
        self._finder.read_ahead([i for i in self._finder.ids if i >= until])
        kept = [s for i in self._finder.ids if i >= until and (s := find(i)) is not None]
        chain = kept_chain(self._handle.root, kept)
        holders = read_holders(self._handle, chain, changelogs=not self._decoupled)
        later = pl.DataFrame(schema=REMOVED_SCHEMA) if changelogs is None else changelogs.removed
        removed = pl.concat([snapshots.removed, later])
        reach = ReachReader(self._handle, self._names, removed).reach(holders)
        plan = self._whole(
            self._snapshot_part(snapshots, reach),
            None if changelogs is None else self._changelog_part(changelogs, reach),
            _protections(removed, reach.data),
            frozenset(h.key for h in holders.all()),
        )
        self._names.forget_unasked()  # here everything that is still in use was asked for
        return plan

    def _snapshot_part(self, found: Candidates, reach: Reach) -> Part:
        files = [self._data(found.removed, reach)]
        wanted = EVERYTHING
        if self._decoupled:
            wanted = frozenset({MetadataKind.INDEX})
            if self._retention.produces_changelog:
                wanted |= {MetadataKind.ROWS}
        else:
            files.append(self._changelog_files(found.members, reach))
        files.append(metadata_files(self._names, found.members, reach.metadata, wanted))
        return _part(found, files)

    def _changelog_part(self, found: Candidates, reach: Reach) -> Part:
        """As Java: a changelog with files of its own loses these; one without loses what its own
        delta removed, which no changelog from then on speaks of."""
        used = reach.metadata | self._named_by(found.end)
        own = [c for c in found.members if c.changelog_manifest_list is not None]
        plain = [c for c in found.members if c.changelog_manifest_list is None]
        rows, changes = frozenset({MetadataKind.ROWS}), frozenset({MetadataKind.CHANGELOG})
        files = [
            self._data(found.removed, reach),
            self._changelog_files(own, reach),
            metadata_files(self._names, own, used, changes),
            metadata_files(self._names, plain, used, rows),
        ]
        return _part(found, files)

    def _named_by(self, changelog: Snapshot) -> frozenset[str]:
        """Names in the lists of the first changelog that stays; some may be gone by design."""
        found = metadata_files(
            self._names, [changelog], frozenset(), EVERYTHING - {MetadataKind.INDEX}
        )
        return frozenset(path.rpartition("/")[2] for path in found["path"].to_list())

    def _data(self, removed: pl.DataFrame, reach: Reach) -> pl.DataFrame:
        goes = removed.join(reach.data, on="name", how="anti")
        return placed(self._schema, goes, FileKind.DATA)

    def _changelog_files(self, members: Sequence[Snapshot], reach: Reach) -> pl.DataFrame:
        """A changelog list that somebody else names, too, keeps its files."""
        free = [s for s in members if s.changelog_manifest_list not in reach.metadata]
        return placed(self._schema, changelog_files(self._names, free), FileKind.CHANGELOG)

    def _whole(
        self,
        snapshots: Part,
        changelogs: Part | None,
        protections: tuple[Protection, ...] = (),
        looked: frozenset[str] = frozenset(),
    ) -> ExpiryPlan:
        root, ids = self._handle.root, self._finder.ids
        return ExpiryPlan(
            table=self._handle.name,
            path=root,
            schema_id=self._schema.id,
            made_millis=self._finder.now,
            latest=max(ids, default=0),
            snapshots=snapshots,
            changelogs=changelogs,
            preserved=self._decoupled,
            clean_directories=self._retention.clean_directories,
            writes_hint=bool(ids) and self._handle.snapshots.earliest_hint() != ids[0],
            consumers=self._finder.idle,
            consumer_floor=self._consumer_floor(snapshots, changelogs),
            protections=protections,
            looked=looked,
        )

    def _consumer_floor(self, snapshots: Part, changelogs: Part | None) -> int:
        held = self._retention.consumers_hold_snapshots and not snapshots.empty
        floors = [snapshots.until] if held else []
        floors += [] if changelogs is None or changelogs.empty else [changelogs.until]
        return max(floors, default=0)


def _nothing(found: Candidates) -> Part:
    return empty_part(found.range.earliest, digest(found.end), found.range.bounds)


def _part(found: Candidates, files: Sequence[pl.DataFrame]) -> Part:
    order = pl.Enum([kind.value for kind in FileKind])
    every = pl.concat([pl.DataFrame(schema=FILES_SCHEMA), *files]).unique("path", keep="first")
    every = every.sort(pl.col("kind").cast(order), "path")
    going = tuple(Going(s.id, s.time_millis, digest(s)) for s in found.members)
    bounds = found.range.bounds
    return Part(found.range.earliest, found.range.until, digest(found.end), going, bounds, every)


def _protections(removed: pl.DataFrame, held: pl.DataFrame) -> tuple[Protection, ...]:
    """Files that stay by who holds them; a file that several hold counts for each."""
    sizes = removed.select("name", "size_bytes").unique("name")
    grouped = held.join(sizes, on="name").group_by("holder")
    counted = grouped.agg(pl.len(), pl.col("size_bytes").sum()).sort("holder")
    return tuple(Protection(str(h), int(n), int(size)) for h, n, size in counted.iter_rows())
