"""A snapshot's manifests, read once each: manifests never change, so their name is their content.

The reader keeps the lists and the slim entries of every manifest that the last snapshot used. The
next snapshot then costs its two manifest lists and the manifests that are new, whatever happened in
between: a gap, an OVERWRITE, a replaced snapshot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from . import paths
from .errors import CorruptTable, UnsupportedFeature
from .handle import TableHandle
from .manifest.codec import ManifestMeta, read_manifest, read_manifest_list
from .manifest.entry import (
    ENTRY_SCHEMA,
    SLIM_SCHEMA,
    STATS_COLUMNS,
    EntryKind,
    ManifestEntry,
    frame_entries,
)
from .manifest.fold import fold
from .manifest.index import DELETION_VECTORS, IndexEntry, read_index_manifest
from .snapshot import Snapshot
from .storage import read_many, read_those_there


class PartitionChoice(Protocol):
    """Says which partitions are wanted, of entries for certain, of manifests as far as it can."""

    def manifests(self, metas: Sequence[ManifestMeta]) -> Sequence[bool]:
        """Which may hold entries of wanted partitions."""
        ...

    def entries(self, entries: pl.DataFrame) -> pl.DataFrame:
        """The entries of wanted partitions, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class LiveFiles:
    """``live``: slim entries of the wanted partitions. ``files``: how many all partitions have.
    ``manifests``: of the snapshot; ``skipped``: those that were not read."""

    live: pl.DataFrame
    files: int
    manifests: int
    skipped: int


class MetadataReader:
    """Reads manifests of one table, remembering the slim entries of those still in use."""

    def __init__(self, handle: TableHandle) -> None:
        self._handle = handle
        self._slim: dict[str, pl.DataFrame] = {}
        self._lists: dict[str, tuple[ManifestMeta, ...]] = {}
        self._index: tuple[str, tuple[IndexEntry, ...]] | None = None

    def manifest_list(self, name: str) -> tuple[ManifestMeta, ...]:
        found = self._lists.get(name)
        if found is None:
            path = paths.manifest_file(self._handle.root, name)
            found = read_manifest_list(self._handle.storage.read(path), path)
            self._lists[name] = found
        return found

    def manifests(self, snapshot: Snapshot) -> tuple[ManifestMeta, ...]:
        """Manifests of base and delta, in order."""
        base = self.manifest_list(snapshot.base_manifest_list)
        return (*base, *self.manifest_list(snapshot.delta_manifest_list))

    def slim(self, name: str) -> pl.DataFrame:
        """Entries of a manifest without statistics."""
        found = self._slim.get(name)
        if found is None:
            found = self._read(name, stats=False)
            self._slim[name] = found
        return found

    def _slims(self, metas: Sequence[ManifestMeta]) -> list[pl.DataFrame]:
        """Slim entries of these manifests; those not read before are read many at a time."""
        known = self._slim
        missing = [m for m in metas if m.name not in known]
        fresh = {
            meta.name: read_manifest(data, path, stats=False)
            for meta, path, data in self._contents(missing)
        }
        slims = [fresh[m.name] if m.name in fresh else known[m.name] for m in metas]
        self._slim = {**self._slim, **fresh}
        return slims

    def whole(self, name: str) -> pl.DataFrame:
        """Entries of a manifest with statistics; not remembered."""
        return self._read(name, stats=True)

    def wholes(self, metas: Sequence[ManifestMeta]) -> Iterator[pl.DataFrame]:
        """As `whole`, of each in turn; many are read at a time."""
        for _, path, data in self._contents(metas):
            yield read_manifest(data, path, stats=True)

    def _contents(self, metas: Sequence[ManifestMeta]) -> Iterator[tuple[ManifestMeta, str, bytes]]:
        """(Its line, path, content) of each manifest; many are read at a time."""
        files = [(paths.manifest_file(self._handle.root, m.name), m.size_bytes) for m in metas]
        found = zip(metas, files, read_many(self._handle.storage, files), strict=True)
        return ((meta, path, data) for meta, (path, _), data in found)

    def read_ahead(self, snapshots: Sequence[Snapshot]) -> None:
        """Have the deltas of these snapshots there, read side by side; what is gone is left out."""
        if self._handle.storage.in_flight <= 1:
            return
        wanted = [
            s.delta_manifest_list for s in snapshots if s.delta_manifest_list not in self._lists
        ]
        for name, path, data in self._those_there(dict.fromkeys(wanted, 0)):
            self._lists[name] = read_manifest_list(data, path)
        lists = (self._lists.get(s.delta_manifest_list, ()) for s in snapshots)
        sizes = {m.name: m.size_bytes for metas in lists for m in metas if m.name not in self._slim}
        for name, path, data in self._those_there(sizes):
            self._slim[name] = read_manifest(data, path, stats=False)

    def _those_there(self, sizes: Mapping[str, int]) -> Iterator[tuple[str, str, bytes]]:
        """(Name, path, content) of metadata files that exist, by their names and sizes."""
        files = [(paths.manifest_file(self._handle.root, n), size) for n, size in sizes.items()]
        found = zip(sizes, files, read_those_there(self._handle.storage, files), strict=True)
        return ((name, path, data) for name, (path, _), data in found if data is not None)

    def delta(self, snapshot: Snapshot) -> pl.DataFrame:
        """What the snapshot itself changed, slim."""
        metas = self.manifest_list(snapshot.delta_manifest_list)
        frames = [self.slim(m.name) for m in metas]
        return pl.concat(frames) if frames else pl.DataFrame(schema=SLIM_SCHEMA)

    def live(self, snapshot: Snapshot) -> pl.DataFrame:
        """Live files of the snapshot, slim; forgets manifests that it does not use."""
        live = fold(self._slims(self.manifests(snapshot)))
        self.keep_only(snapshot)
        return live

    def keep_only(self, snapshot: Snapshot) -> None:
        """Forget what the snapshot does not use, so that no reader grows with a table's history."""
        used = {m.name for m in self.manifests(snapshot)}
        lists = (snapshot.base_manifest_list, snapshot.delta_manifest_list)
        self._slim = {name: frame for name, frame in self._slim.items() if name in used}
        self._lists = {name: metas for name, metas in self._lists.items() if name in lists}

    def live_of(self, snapshot: Snapshot, choice: PartitionChoice) -> LiveFiles:
        """Live files of the wanted partitions; manifests that hold none of them are not read.

        A file's entries all name its partition. So those of a wanted partition are in the manifests
        that are read, and of the others none is left to be folded: an ADD that was not read is
        missed by no DELETE.
        """
        metas = self.manifests(snapshot)
        wanted = [m for m, yes in zip(metas, choice.manifests(metas), strict=True) if yes]
        live = fold([choice.entries(slim) for slim in self._slims(wanted)])
        files = sum(m.added_files - m.deleted_files for m in metas)
        return LiveFiles(live, files, len(metas), len(metas) - len(wanted))

    def with_stats(self, snapshot: Snapshot, live: pl.DataFrame) -> pl.DataFrame:
        """These live files with their statistics: columns of ENTRY_SCHEMA, in the same order.

        Raises:
            CorruptTable: one of them is in no manifest.
        """
        place = ["partition", "bucket", "level", "name"]
        names = live.get_column("name")
        added = (pl.col("kind") == EntryKind.ADD) & pl.col("name").is_in(names.implode())
        # Manifests that were not read for the live files hold none of them.
        read = ((m, self._slim.get(m.name)) for m in self.manifests(snapshot))
        holding = [m for m, slim in read if slim is not None and slim.filter(added).height]
        found = [pl.DataFrame(schema=ENTRY_SCHEMA)]
        found += (whole.filter(added) for whole in self.wholes(holding))
        stats = pl.concat(found).select(*place, *STATS_COLUMNS)
        stats = stats.unique(place, keep="last", maintain_order=True)
        joined = live.join(stats, on=place, how="inner", maintain_order="left")
        if joined.height != live.height:
            raise CorruptTable(
                "files are in no manifest", table=self._handle.name, expected=live.height,
                found=joined.height,
            )  # fmt: skip
        return joined

    def entries(
        self, snapshot: Snapshot, partition: bytes, bucket: int, names: Collection[str]
    ) -> tuple[ManifestEntry, ...]:
        """ADD entries with statistics of these live files of one bucket, in manifest order.

        Raises:
            CorruptTable: one of them is in no manifest.
        """
        wanted = (
            (pl.col("kind") == EntryKind.ADD)
            & (pl.col("partition") == partition)
            & (pl.col("bucket") == bucket)
            & pl.col("name").is_in(list(names))
        )
        live = self.live(snapshot).filter(wanted).select("name", "level")
        metas = self.manifests(snapshot)
        holding = [m for m in metas if self.slim(m.name).filter(wanted).height]
        found = [pl.DataFrame(schema=ENTRY_SCHEMA)]
        found += (whole.filter(wanted) for whole in self.wholes(holding))
        entries = pl.concat(found).join(
            live, on=["name", "level"], how="semi", maintain_order="left"
        )
        if entries.height != len(names):
            raise CorruptTable(
                "files are in no manifest", table=self._handle.name, expected=len(names),
                found=entries.height,
            )  # fmt: skip
        return frame_entries(entries)

    def index(self, snapshot: Snapshot) -> tuple[IndexEntry, ...]:
        """Live index files of the snapshot.

        Raises:
            UnsupportedFeature: one of a kind without whose help rows cannot be read or written.
        """
        name = snapshot.index_manifest
        if name is None:
            return ()
        if self._index is None or self._index[0] != name:
            path = paths.manifest_file(self._handle.root, name)
            entries = read_index_manifest(self._handle.storage.read(path), path)
            self._refuse_kinds(entries, path)
            self._index = (name, entries)
        return self._index[1]

    def _refuse_kinds(self, entries: Sequence[IndexEntry], path: str) -> None:
        for entry in entries:
            if entry.index_type != DELETION_VECTORS and entry.row_count:
                raise UnsupportedFeature(
                    "index files are not supported", kind=entry.index_type, file=path,
                    table=self._handle.name,
                )  # fmt: skip
            if entry.external_path is not None:
                raise UnsupportedFeature("external paths are not supported", file=entry.file_name)

    def deletion_files(
        self, snapshot: Snapshot, partition: bytes | None = None, bucket: int | None = None
    ) -> tuple[IndexEntry, ...]:
        """The index files that hold deletion vectors, of one bucket or of all, by name."""
        found = (
            e
            for e in self.index(snapshot)
            if e.index_type == DELETION_VECTORS
            and partition in (None, e.partition)
            and bucket in (None, e.bucket)
        )
        return tuple(sorted(found, key=lambda e: e.file_name))

    def _read(self, name: str, *, stats: bool) -> pl.DataFrame:
        path = paths.manifest_file(self._handle.root, name)
        return read_manifest(self._handle.storage.read(path), path, stats=stats)
