"""Which files the holders reach: asked of the files that might be deleted, not of all.

Data files: entries of a manifest that name none of the wanted files are dropped as soon as they are
decoded, so what is held in memory is small however large the table is. Metadata: sets of names.

Where the manifests to decode are very large, two questions are left out that only matter when a
history is not straight (`FULL_BYTES_MAX`): what the first and last kept snapshot hold beside what
the deltas say, and tags that are not the newest before a removal. Java asks neither, ever.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import polars as pl

from ..errors import CommitConflict, FileMissing
from ..handle import TableHandle
from ..manifest.codec import ManifestMeta
from ..manifest.entry import SLIM_SCHEMA, EntryKind
from ..snapshot import Snapshot
from .holders import Chain, Holder, Holders
from .names import NameReader

T = TypeVar("T")

# The manifests of a million files; decoding them takes a few seconds.
FULL_BYTES_MAX = 256 * 2**20

HELD_SCHEMA: dict[str, pl.DataType] = {"name": pl.String(), "holder": pl.String()}
_IDENTITY = ("partition", "bucket", "level", "name")


@dataclass(frozen=True, slots=True)
class Reach:
    """``data``: wanted data files that are held, HELD_SCHEMA, a row per file and holder;
    ``metadata``: names of all metadata and index files in use."""

    data: pl.DataFrame
    metadata: frozenset[str]


class ReachReader:
    """Asks the holders of one table; for one question.

    Args:
        removed: wanted data files: columns ``name`` and ``snapshot_id``, the snapshot that removed
            it. A name may come several times.
    """

    def __init__(
        self,
        handle: TableHandle,
        names: NameReader,
        removed: pl.DataFrame,
        full_bytes_max: int = FULL_BYTES_MAX,
    ) -> None:
        self._handle = handle
        self._names = names
        self._removals = sorted(removed["snapshot_id"].unique().to_list())
        self._wanted = removed.select(pl.col("name").unique())
        self._entries: dict[str, pl.DataFrame] = {}
        self._bytes_left = full_bytes_max

    def reach(self, holders: Holders) -> Reach:
        """What they hold.

        Raises:
            CommitConflict: one of them went away meanwhile; look again.
            FileMissing: one of them names a file that is gone; it is named as ``holder``.
        """
        parts = [pl.DataFrame(schema=HELD_SCHEMA)]
        if self._handle.storage.in_flight > 1:
            self._read_ahead(holders)
        if self._wanted.height:
            parts += self._data(holders)
        return Reach(pl.concat(parts).unique(), frozenset(self._metadata(holders)))

    def _read_ahead(self, holders: Holders) -> None:
        """What the following asks for one by one."""
        self._names.read_ahead(holder.snapshot for holder in holders.all())
        if self._wanted.height:
            chains = (holders.kept, *holders.branches)
            deltas = (h.snapshot.delta_manifest_list for chain in chains for h in chain[1:])
            self._names.changed_ahead(deltas)

    # --- data files -----------------------------------------------------------------------------

    def _data(self, holders: Holders) -> Iterator[pl.DataFrame]:
        yield self._chain(holders.kept, "kept snapshots", sparing=True)
        for chain in holders.branches:
            yield self._chain(chain, chain[0].label.partition(",")[0], sparing=False)
        for holder in holders.others:
            yield self._labelled(self._asked(holder, self._live), holder.label)
        near = self._near(holders.tags)
        for holder in holders.tags:
            if holder.key in near or self._affordable(holder):
                yield self._labelled(self._asked(holder, self._live), holder.label)
        for holder in holders.changelogs:
            yield self._labelled(self._asked(holder, self._changelog_names), holder.label)

    def _chain(self, chain: Chain, label: str, *, sparing: bool) -> pl.DataFrame:
        found = [pl.Series("name", [], pl.String())]
        for holder in chain[1:]:
            found.append(self._asked(holder, self._changed))
        for holder in {chain[0].key: chain[0], chain[-1].key: chain[-1]}.values() if chain else ():
            if not sparing or self._affordable(holder):
                found.append(self._asked(holder, self._live))
        return self._labelled(self._only_wanted(pl.concat(found)), label)

    def _near(self, tags: tuple[Holder, ...]) -> set[str]:
        """Keys of the newest tags before each removal: they hold what any older one holds of it."""
        ids = [tag.snapshot.id for tag in tags]
        found = {ids[at - 1] for s in self._removals if (at := bisect_left(ids, s)) > 0}
        return {tag.key for tag in tags if tag.snapshot.id in found}

    def _affordable(self, holder: Holder) -> bool:
        """Whether the manifests that were not read yet are small enough to be read, too."""
        metas = self._asked(holder, self._unread)
        size = sum(meta.size_bytes for meta in metas)
        if size > self._bytes_left:
            return False
        self._bytes_left -= size
        return True

    def _unread(self, snapshot: Snapshot) -> list[ManifestMeta]:
        return [m for m in self._names.manifests(snapshot) if m.name not in self._entries]

    def _live(self, snapshot: Snapshot) -> pl.Series:
        """Wanted files that are live in the snapshot.

        Counted rather than paired: whatever a damaged history says twice errs towards keeping.
        """
        metas = self._names.manifests(snapshot)
        entries = pl.concat([pl.DataFrame(schema=SLIM_SCHEMA), *(self._of(m.name) for m in metas)])
        added = pl.when(pl.col("kind") == EntryKind.ADD).then(1).otherwise(-1).sum()
        counted = entries.group_by(_IDENTITY).agg(added.alias("times"))
        return counted.filter(pl.col("times") > 0)["name"]

    def _of(self, manifest: str) -> pl.DataFrame:
        """The manifest's entries about wanted files."""
        if manifest not in self._entries:
            whole = self._names.entries(manifest)
            self._entries[manifest] = whole.join(self._wanted, on="name", how="semi")
        return self._entries[manifest]

    def _changed(self, snapshot: Snapshot) -> pl.Series:
        """Files that the snapshot's delta adds or removes: either says that it was used."""
        return self._names.changed_names(snapshot.delta_manifest_list)

    def _changelog_names(self, snapshot: Snapshot) -> pl.Series:
        """Wanted files that are the snapshot's changelog; none where its list is gone already."""
        list_name = snapshot.changelog_manifest_list or snapshot.delta_manifest_list
        try:
            return self._only_wanted(self._names.changed_names(list_name))
        except FileMissing:
            return pl.Series("name", [], pl.String())

    def _only_wanted(self, names: pl.Series) -> pl.Series:
        frame = pl.DataFrame({"name": names})
        return frame.join(self._wanted, on="name", how="semi")["name"]

    @staticmethod
    def _labelled(names: pl.Series, label: str) -> pl.DataFrame:
        return pl.DataFrame({"name": names}).with_columns(holder=pl.lit(label, pl.String))

    # --- metadata -------------------------------------------------------------------------------

    def _metadata(self, holders: Holders) -> Iterator[str]:
        for holder in holders.all():
            if not holder.partial:
                yield from self._asked(holder, self._rows_metadata)
            if holder.changelog:
                yield from self._changelog_metadata(holder.snapshot)

    def _rows_metadata(self, snapshot: Snapshot) -> list[str]:
        return list(self._names.metadata(snapshot, changelog=False))

    def _changelog_metadata(self, snapshot: Snapshot) -> Iterable[str]:
        """None where it is gone, as of a branch made from a tag whose snapshot had expired."""
        name = snapshot.changelog_manifest_list or snapshot.delta_manifest_list
        try:
            return [name, *(line.name for line in self._names.manifest_list(name))]
        except FileMissing:
            return ()

    def _asked(self, holder: Holder, question: Callable[[Snapshot], T]) -> T:
        """The answer; a holder that misses a file may have gone itself since it was looked at."""
        try:
            return question(holder.snapshot)
        except FileMissing as error:
            try:
                there = self._handle.storage.read(holder.path) == holder.snapshot.content
            except FileMissing:
                there = False
            if there:
                raise error.at(holder=holder.label) from error
            raise CommitConflict("a snapshot went away", holder=holder.label) from error
