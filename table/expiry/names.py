"""Names in metadata files, each file read once: none of them ever changes.

What a table holds on to is asked again and again as time goes by; between two questions only a few
files are new. So the reader remembers lists, index manifests and the names in delta manifests for
as long as they are asked for. Entries of whole manifests it does not remember.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import polars as pl

from .. import paths
from ..handle import TableHandle
from ..manifest.codec import ManifestMeta, read_manifest, read_manifest_list
from ..manifest.index import IndexEntry, read_index_manifest
from ..snapshot import Snapshot
from ..storage import read_those_there


class NameReader:
    """Metadata of one table's snapshots, tags and branches. For one thread at a time.

    Every method raises FileMissing when the file is gone, CorruptTable when it is damaged.
    """

    def __init__(self, handle: TableHandle) -> None:
        self._handle = handle
        self._lists: dict[str, tuple[ManifestMeta, ...]] = {}
        self._indexes: dict[str, tuple[IndexEntry, ...]] = {}
        self._changed: dict[str, pl.Series] = {}
        self._metas: dict[str, ManifestMeta] = {}
        self._asked: set[str] = set()

    def manifest_list(self, name: str) -> tuple[ManifestMeta, ...]:
        """Lines of a manifest list."""
        self._asked.add(name)
        found = self._lists.get(name)
        if found is None:
            path = paths.manifest_file(self._handle.root, name)
            found = self._remember_list(name, self._handle.storage.read(path), path)
        return found

    def _remember_list(self, name: str, data: bytes, path: str) -> tuple[ManifestMeta, ...]:
        # A list repeats most lines of the one before it: each is held once.
        lines = (self._metas.setdefault(m.name, m) for m in read_manifest_list(data, path))
        return self._lists.setdefault(name, tuple(lines))

    def read_ahead(self, snapshots: Iterable[Snapshot]) -> None:
        """Read what `metadata` will ask of these snapshots, many files at a time.

        What is missing is passed over: it is reported when it is asked for.
        """
        lists: dict[str, None] = {}
        indexes: dict[str, None] = {}
        for s in snapshots:
            for name in (s.base_manifest_list, s.delta_manifest_list, s.changelog_manifest_list):
                if name is not None and name not in self._lists:
                    lists[name] = None
            if s.index_manifest is not None and s.index_manifest not in self._indexes:
                indexes[s.index_manifest] = None
        for name, path, data in self._read_those_there(list(lists)):
            if data is not None:
                self._remember_list(name, data, path)
        for name, path, data in self._read_those_there(list(indexes)):
            if data is not None:
                self._indexes[name] = read_index_manifest(data, path)

    def _read_those_there(self, names: Sequence[str]) -> Iterator[tuple[str, str, bytes | None]]:
        """Name, path and content of metadata files, read many at a time."""
        files = [paths.manifest_file(self._handle.root, name) for name in names]
        sizes = (self._metas[n].size_bytes if n in self._metas else 0 for n in names)
        sized = zip(files, sizes, strict=True)
        return zip(names, files, read_those_there(self._handle.storage, sized), strict=True)

    def manifests(self, snapshot: Snapshot) -> tuple[ManifestMeta, ...]:
        """Manifests of base and delta, in order."""
        base = self.manifest_list(snapshot.base_manifest_list)
        return (*base, *self.manifest_list(snapshot.delta_manifest_list))

    def index_entries(self, name: str) -> tuple[IndexEntry, ...]:
        """Entries of an index manifest."""
        self._asked.add(name)
        if name not in self._indexes:
            path = paths.manifest_file(self._handle.root, name)
            self._indexes[name] = read_index_manifest(self._handle.storage.read(path), path)
        return self._indexes[name]

    def entries(self, manifest: str) -> pl.DataFrame:
        """Entries of a manifest, slim; not remembered."""
        path = paths.manifest_file(self._handle.root, manifest)
        return read_manifest(self._handle.storage.read(path), path, stats=False)

    def entries_of(self, manifests: Sequence[str]) -> Iterator[tuple[str, pl.DataFrame | None]]:
        """Entries of manifests by their names, in order, slim; None for one that is gone.

        They are read many at a time, and not remembered.
        """
        for name, path, data in self._read_those_there(manifests):
            yield name, None if data is None else read_manifest(data, path, stats=False)

    def changed_names(self, manifest_list: str) -> pl.Series:
        """Names of all data files that the manifests of a delta or changelog list speak of."""
        self._asked.add(manifest_list)
        if manifest_list not in self._changed:
            lines = self.manifest_list(manifest_list)
            parts = [self.entries(line.name)["name"] for line in lines]
            empty = pl.Series("name", [], pl.String())
            self._changed[manifest_list] = pl.concat([empty, *parts]).unique()
        return self._changed[manifest_list]

    def changed_ahead(self, manifest_lists: Iterable[str]) -> None:
        """Read what `changed_names` will ask of these lists, as `read_ahead` does."""
        lists = [n for n in dict.fromkeys(manifest_lists) if n not in self._changed]
        known = {name: self._lists[name] for name in lists if name in self._lists}
        asked = dict.fromkeys(line.name for lines in known.values() for line in lines)
        entries = {name: frame for name, frame in self.entries_of(list(asked)) if frame is not None}
        for name, lines in known.items():
            if all(line.name in entries for line in lines):
                parts = [entries[line.name]["name"] for line in lines]
                empty = pl.Series("name", [], pl.String())
                self._changed[name] = pl.concat([empty, *parts]).unique()

    def metadata(self, snapshot: Snapshot, *, changelog: bool) -> Iterator[str]:
        """Names of every metadata and index file that the snapshot needs.

        Args:
            changelog: readers of changes need it too, not only readers of rows.
        """
        lists = [snapshot.base_manifest_list, snapshot.delta_manifest_list]
        if changelog and snapshot.changelog_manifest_list is not None:
            lists.append(snapshot.changelog_manifest_list)
        for name in lists:
            yield name
            yield from (line.name for line in self.manifest_list(name))
        if snapshot.index_manifest is not None:
            yield snapshot.index_manifest
            yield from (entry.file_name for entry in self.index_entries(snapshot.index_manifest))
        if snapshot.statistics is not None:
            yield snapshot.statistics

    def forget_unasked(self) -> None:
        """Forget what was not asked for since the last call."""
        asked, self._asked = self._asked, set()
        self._lists = {name: v for name, v in self._lists.items() if name in asked}
        self._indexes = {name: v for name, v in self._indexes.items() if name in asked}
        self._changed = {name: v for name, v in self._changed.items() if name in asked}
        self._metas = {line.name: line for lines in self._lists.values() for line in lines}
