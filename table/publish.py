"""How a snapshot becomes visible: by making its file, under a catalog's lock, or by a server.

The file is made exclusively, whoever else tries at the same time. Where the store cannot promise
that, a catalog's lock must; without one there is no safe way, and nothing is published.

Spec: format §13.1, §16; reference classes ``catalog/RenamingSnapshotCommit``, ``operation/Lock``.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from . import paths
from .errors import FileMissing, StorageUnavailable, UnsupportedFeature
from .storage import Storage


@dataclass(frozen=True, slots=True)
class Place:
    """The table that is published to: its name, its root, its store."""

    table: str
    root: str
    storage: Storage


class Publisher(Protocol):
    """Makes snapshots visible."""

    def publish(self, place: Place, snapshot_id: int, content: bytes, base: bytes | None) -> bool:
        """Whether the snapshot with this content is now the table's; False: the race is lost.

        Args:
            base: content of the snapshot that was built on; None: there was none.

        Raises:
            StorageUnavailable: it failed, and may have been published all the same.
            UnsupportedFeature: there is no safe way.
        """
        ...

    def quiet(self, place: Place) -> AbstractContextManager[None]:
        """As `alone` where there is a lock; else nothing: for what is right beside others, too."""
        ...

    def alone(self, place: Place) -> AbstractContextManager[None]:
        """While inside, nobody publishes who takes the same lock; where there is none, nothing."""
        ...


class Hold(Protocol):
    """A lock that is held."""

    def check(self) -> None:
        """Nothing, as long as it is.

        Raises:
            StorageUnavailable: it was taken from us, or cannot be asked.
        """
        ...

    def keep(self) -> None:
        """Do not give it back: it is free when its time is over."""
        ...


class Lock(Protocol):
    """A catalog's lock on one table, by its name ``db.table``."""

    def held(self, table: str) -> AbstractContextManager[Hold]:
        """Hold it; giving it back never fails.

        Raises:
            StorageUnavailable: it cannot be had in time, or its database fails.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Nothing(AbstractContextManager[None]):
    def __exit__(self, *_: object) -> None:
        return None


@dataclass(frozen=True, slots=True)
class ByCreation:
    """The file is created exclusively."""

    def publish(self, place: Place, snapshot_id: int, content: bytes, base: bytes | None) -> bool:
        path = paths.snapshot_file(place.root, snapshot_id)
        if not place.storage.exclusive(path):
            raise UnsupportedFeature(
                "the store ignores conditional puts: writing needs a catalog with a lock",
                table=place.table,
                file=path,
            )
        return place.storage.create(path, content)

    def quiet(self, place: Place) -> AbstractContextManager[None]:
        return _Nothing()

    def alone(self, place: Place) -> AbstractContextManager[None]:
        return _Nothing()


@dataclass(frozen=True, slots=True)
class UnderLock:
    """As `ByCreation`, with the catalog's lock held: for writers that only look before they write,
    and stores that create nothing exclusively."""

    lock: Lock

    def publish(self, place: Place, snapshot_id: int, content: bytes, base: bytes | None) -> bool:
        path = paths.snapshot_file(place.root, snapshot_id)
        if place.storage.exists(path):
            return False  # lost already: others need the lock more
        with self.lock.held(place.table) as hold:
            if base is not None and not _still_there(place, snapshot_id - 1, base):
                return False
            if place.storage.exists(path):
                return False
            if place.storage.exclusive(path):
                return place.storage.create(path, content)
            hold.check()  # the store was slow, perhaps slower than the lock's life
            return _created_alone(place.storage, path, content, hold)

    def quiet(self, place: Place) -> AbstractContextManager[None]:
        return self.alone(place)

    @contextmanager
    def alone(self, place: Place) -> Generator[None]:
        with self.lock.held(place.table):
            yield


def _created_alone(storage: Storage, path: str, content: bytes, hold: Hold) -> bool:
    """As `Storage.create`, by a store that replaces what exists: a request without an answer may
    arrive late, and must not find the snapshot of the next who takes the lock."""
    try:
        return storage.create(path, content)
    except StorageUnavailable as error:
        if error.context.get("in_doubt"):
            hold.keep()
        raise


def _still_there(place: Place, snapshot_id: int, content: bytes) -> bool:
    """A rollback may have removed what was built on; then nothing newer says that it has."""
    try:
        return place.storage.read(paths.snapshot_file(place.root, snapshot_id)) == content
    except FileMissing:
        return False
