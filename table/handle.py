"""A table as `table/` sees it: where it is, its store, and the outside world it may ask.

The outside world (time, waiting, chance) is an argument, so that everything above stays testable.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import paths
from .errors import CorruptTable, FileMissing, TableMissing
from .publish import ByCreation, Place, Publisher
from .schema import TableSchema, load_schema
from .snapshot import SnapshotStore
from .storage import Storage


def _now_millis() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class World:
    """What is not the table: epoch milliseconds, waiting in seconds, a random fraction of one.

    ``local_offset_millis`` is what is added to epoch time for `_CREATION_TIME`, which Paimon keeps
    as local wall clock.
    """

    now_millis: Callable[[], int] = _now_millis
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random

    def creation_millis(self) -> int:
        return self.local_millis(self.now_millis())

    def local_millis(self, epoch_millis: int) -> int:
        """What the wall clock shows here at that time, counted as if it showed UTC."""
        return epoch_millis + time.localtime(epoch_millis / 1000).tm_gmtoff * 1000


@dataclass(frozen=True, slots=True)
class TableHandle:
    """Name ("db.table"), root path without a trailing slash, store, and world of one table.

    ``publisher``: how its snapshots become visible; the catalog says.
    """

    name: str
    root: str
    storage: Storage
    world: World = field(default_factory=World)
    publisher: Publisher = field(default_factory=ByCreation)

    @property
    def place(self) -> Place:
        """What a publisher needs to know."""
        return Place(self.name, self.root, self.storage)

    @property
    def snapshots(self) -> SnapshotStore:
        return SnapshotStore(self.storage, self.root)

    def schema(self, schema_id: int) -> TableSchema:
        """One version of the schema.

        Raises:
            CorruptTable: the file is missing or unreadable.
        """
        path = paths.schema_file(self.root, schema_id)
        schema = load_schema(self.storage.read(path), path)
        if schema.id != schema_id:
            raise CorruptTable("schema id differs from its file name", id=schema.id, file=path)
        return schema

    def latest_schema_id(self) -> int:
        """The newest schema's id, from a listing.

        Raises:
            TableMissing: no schema file: nothing (any more) is here.
        """
        listed = self.storage.list(paths.schema_dir(self.root))
        ids = (paths.numbered(status.name, "schema-") for status in listed)
        newest = max((found for found in ids if found is not None), default=None)
        if newest is None:
            raise TableMissing("no table here", table=self.name, path=self.root)
        return newest

    def has_schema(self, schema_id: int) -> bool:
        """Whether there is this version of the schema."""
        return self.storage.exists(paths.schema_file(self.root, schema_id))

    def latest_schema(self) -> TableSchema:
        """The newest schema, read now."""
        try:
            return self.schema(self.latest_schema_id())
        except FileMissing as error:
            raise TableMissing("no table here", table=self.name, path=self.root) from error
