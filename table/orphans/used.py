"""Which candidates are used: every name that any holder speaks of is.

Compared by bare name, wherever the file lies: names are unique, and a name that is used is used
in all places. Entries that remove a file count as much as those that add it: an upgrade, a
rollback and a reader of changes all come back to it.

Manifests are read many at a time and forgotten; their names are taken out of the candidates in
batches. So what is held is the candidates, whatever the table's size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl

from ..errors import CommitConflict, FileMissing
from ..expiry.holders import Holder
from ..expiry.names import NameReader
from ..handle import TableHandle

NAMES_MAX = 200_000
"""Names of data files that are gathered before they are taken out of the candidates."""


class UsedNames:
    """Takes what holders use out of candidates.

    ``manifests``: those whose names the candidates do not hold; they are not read again.
    """

    def __init__(
        self, handle: TableHandle, names: NameReader, manifests: Iterable[str] = ()
    ) -> None:
        self._handle = handle
        self._names = names
        self.manifests = set(manifests)

    def unused(self, candidates: pl.DataFrame, holders: Sequence[Holder]) -> pl.DataFrame:
        """The candidates that none of the holders uses.

        Raises:
            FileMissing: a holder that is still there names metadata that is gone.
            CorruptTable, UnsupportedFeature, StorageUnavailable: metadata that cannot be read.
            CommitConflict: a holder changed while it was read; look again.
        """
        if not candidates.height:
            return candidates
        self._names.read_ahead(h.snapshot for h in holders)
        manifests: dict[str, list[Holder]] = {}
        metadata: set[str] = set()
        for holder in holders:
            metadata.update(_texts(holder.snapshot.extra))
            for name, needed in self._lines(holder):
                manifests.setdefault(name, []).extend([holder] if needed else [])
            metadata.update(self._index(holder))
        metadata |= manifests.keys()
        left = _without(candidates, [pl.Series("name", sorted(metadata), pl.String())])
        return self._without_rows(left, manifests)

    # --- metadata ---------------------------------------------------------------------------------

    def _lines(self, holder: Holder) -> Iterator[tuple[str, bool]]:
        """Manifests of all the holder's lists, and whether its readers cannot do without.

        Changes may be gone while rows are there: of a tag, and of what was made from one.
        """
        snapshot = holder.snapshot
        lists = [(snapshot.base_manifest_list, not holder.partial)]
        lists.append((snapshot.delta_manifest_list, not holder.partial))
        if snapshot.changelog_manifest_list is not None:
            lists.append((snapshot.changelog_manifest_list, False))
        for name, needed in lists:
            try:
                yield from ((line.name, needed) for line in self._names.manifest_list(name))
            except FileMissing as error:
                self._excuse([holder] if needed else [], error)

    def _index(self, holder: Holder) -> Iterator[str]:
        name = holder.snapshot.index_manifest
        if name is None:
            return
        try:
            yield from (entry.file_name for entry in self._names.index_entries(name))
        except FileMissing as error:
            self._excuse([] if holder.partial else [holder], error)

    def _excuse(self, holders: Sequence[Holder], error: FileMissing) -> None:
        """Metadata is gone: fine if nobody needs it any more, else nothing may be deleted."""
        for holder in holders:
            try:
                content = self._handle.storage.read(holder.path)
            except FileMissing:
                continue  # expired meanwhile
            if content != holder.snapshot.content:
                raise CommitConflict("a snapshot was replaced", holder=holder.label) from error
            raise error.at(holder=holder.label) from error

    # --- data files -------------------------------------------------------------------------------

    def _without_rows(
        self, candidates: pl.DataFrame, manifests: dict[str, list[Holder]]
    ) -> pl.DataFrame:
        """Candidates that no entry of these manifests names."""
        gathered: list[pl.Series] = []
        waiting = 0
        unread = [name for name in manifests if name not in self.manifests]
        for name, entries in self._names.entries_of(unread) if candidates.height else ():
            if entries is None:
                self._excuse(manifests[name], FileMissing("file does not exist", file=name))
                continue
            gathered += _names(entries)
            waiting += entries.height
            if waiting >= NAMES_MAX:
                candidates, gathered, waiting = _without(candidates, gathered), [], 0
        self.manifests.update(unread)
        return _without(candidates, gathered)


def _names(entries: pl.DataFrame) -> list[pl.Series]:
    """Names of the data files in a manifest, of what lies beside them, and of external ones."""
    found = [entries["name"]]
    extra = entries["extra_files"]
    if extra.list.len().sum():
        found.append(extra.explode(empty_as_null=True).drop_nulls().alias("name"))
    external = entries["external_path"].drop_nulls()
    if external.len():
        found.append(external.str.extract(r"([^/]*)$").alias("name"))
    return found


def _without(candidates: pl.DataFrame, names: Sequence[pl.Series]) -> pl.DataFrame:
    if not names or not candidates.height:
        return candidates
    return candidates.join(
        pl.DataFrame({"name": pl.concat(names)}), on="name", how="anti", maintain_order="left"
    )


def _texts(value: Any) -> Iterator[str]:
    """Every text in a snapshot file: newer writers may name files where we do not look for them."""
    match value:
        case str():
            yield value.rpartition("/")[2]
        case dict():
            for inner in value.values():  # pyright: ignore[reportUnknownVariableType]
                yield from _texts(inner)
        case list():
            for inner in value:  # pyright: ignore[reportUnknownVariableType]
                yield from _texts(inner)
        case _:
            return
