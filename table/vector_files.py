"""The deletion vectors of a bucket after a change, written as new index files.

In a table with buckets one file holds all vectors of a bucket, and only another one can replace it:
where none is left a file without vectors is written. Without buckets files are rolled at a size,
and a file that is not needed any more is simply taken out.

Spec: maintenance §6.2, §6.3; format §10.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from . import paths
from .deletes import Positions, Vectors, encode_vectors, read_vectors, united
from .errors import CorruptTable, VerificationFailed
from .handle import TableHandle
from .manifest.entry import EntryKind
from .manifest.index import DELETION_VECTORS, IndexEntry
from .options import TableOptions


def vectors_in(handle: TableHandle, entries: Iterable[IndexEntry]) -> dict[str, Positions]:
    """All deletion vectors in these index files, by data file."""
    return {
        name: positions
        for entry in entries
        for name, positions in read_vectors(
            handle.storage, paths.index_file(handle.root, entry.file_name), entry.deletions or ()
        ).items()
    }


class VectorChanges:
    """Vectors by data file, as a change makes them."""

    def __init__(self, before: Vectors) -> None:
        self._vectors = dict(before)
        self.marked: set[str] = set()
        """Files that rows were newly deleted from."""
        self.changed = False

    @property
    def vectors(self) -> Vectors:
        """As they are now, without empty ones."""
        return {name: at for name, at in self._vectors.items() if len(at)}

    def forget(self, names: Iterable[str]) -> None:
        """These files are rewritten: their deleted rows are gone with them."""
        for name in names:
            if self._vectors.pop(name, None) is not None:
                self.changed = True

    def mark(self, marks: Vectors) -> None:
        """These rows are deleted, too."""
        for name, positions in marks.items():
            if len(positions):
                old = self._vectors.get(name)
                self._vectors[name] = positions if old is None else united(old, positions)
                self.marked.add(name)
                self.changed = True


@dataclass(frozen=True, slots=True)
class VectorWriter:
    """Writes index files of one bucket; their names begin with the task's id.

    ``partition``: serialized. ``written`` gets the path of every file that was begun.
    """

    handle: TableHandle
    options: TableOptions
    task_id: str
    partition: bytes
    bucket: int
    written: list[str]

    def write(self, vectors: Vectors, *, first: int = 0) -> tuple[IndexEntry, ...]:
        """New index files with these vectors, read back and compared; numbered from ``first`` on.

        Raises:
            VerificationFailed: a file does not hold what was written into it.
            StorageUnavailable: it cannot be written.
        """
        return tuple(
            self._one(number, group) for number, group in enumerate(self._groups(vectors), first)
        )

    def _groups(self, vectors: Vectors) -> Iterator[dict[str, Positions]]:
        if self.options.bucket > 0:
            yield dict(vectors)
            return
        group: dict[str, Positions] = {}
        size = 0
        for name in sorted(vectors):
            data, _ = encode_vectors({name: vectors[name]}, wide=self.options.deletion_vectors_wide)
            group[name] = vectors[name]
            size += len(data)
            if size >= self.options.deletion_file_target_bytes:
                yield group
                group, size = {}, 0
        if group:
            yield group

    def _one(self, number: int, vectors: Mapping[str, Positions]) -> IndexEntry:
        data, ranges = encode_vectors(vectors, wide=self.options.deletion_vectors_wide)
        name = f"index-{self.task_id}-{number}"
        path = paths.index_file(self.handle.root, name)
        self.written.append(path)
        if not self.handle.storage.create(path, data):
            raise CorruptTable("an index file of ours exists already", file=path)
        entry = IndexEntry(
            kind=EntryKind.ADD,
            partition=self.partition,
            bucket=self.bucket,
            index_type=DELETION_VECTORS,
            file_name=name,
            file_size=len(data),
            row_count=len(ranges),
            deletions=ranges,
        )
        self._check(entry, vectors, path)
        return entry

    def _check(self, entry: IndexEntry, vectors: Mapping[str, Positions], path: str) -> None:
        back = read_vectors(self.handle.storage, path, entry.deletions or ())
        wanted = {name: at for name, at in vectors.items() if len(at)}
        if back.keys() != wanted.keys():
            raise VerificationFailed("written vectors are of other files", file=path)
        for name, positions in wanted.items():
            if not np.array_equal(back[name], positions):
                raise VerificationFailed("a written vector differs", data_file=name, file=path)
