"""Whole operations on an object store that fails: a named error or success, and nothing is lost.

Whatever happened, the next run ends well, and what is there is what was acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from support.builders import Task, handle_on, kv, orphans, reopened, rows_of, upserts
from support.catalog_worlds import WaitingWorld
from support.proxy import HttpProxy
from support.proxy_faults import (
    Answer,
    CutAnswer,
    CutUpload,
    Fault,
    LostAnswer,
    Match,
    Refuse,
    internal_error,
    slow_down,
    time_too_skewed,
)
from support.s3_stores import impatient, keyed_on
from support.servers import Rgw

from desilt.daemon.catalogs import open_catalog
from desilt.daemon.config import load
from desilt.daemon.errors import ConfigError
from desilt.table.catalog import Catalog, open_table
from desilt.table.catalogs import CatalogOptions, JdbcCatalog
from desilt.table.compact import sweep
from desilt.table.errors import (
    InvalidRequest,
    OutcomeUnknown,
    StorageUnavailable,
    TableMissing,
    UnsupportedFeature,
)
from desilt.table.storage.s3 import S3Storage
from desilt.table.table import Table

OLD = upserts(6, "old")
NEW = upserts(6, "new", start=3)
SNAPSHOT = Match(kind="PUT", path=r"/snapshot/snapshot-\d+$")


class Lake(NamedTuple):
    """One table, by a store behind a proxy and straight."""

    proxy: HttpProxy
    store: S3Storage
    straight: Table

    @property
    def table(self) -> Table:
        return Table(handle_on(self.straight.path, self.store))

    @property
    def rows(self) -> list[tuple[object, ...]]:
        return rows_of(reopened(self.straight, self.straight.handle.storage))


@pytest.fixture
def lake(s3_server: Rgw, bucket: str, tmp_path: Path) -> Iterator[Lake]:
    with HttpProxy(s3_server.endpoint) as proxy:
        options = impatient(s3_server, endpoint=proxy.endpoint, scratch=tmp_path / "scratch")
        store = S3Storage(bucket, options)
        straight = keyed_on(S3Storage(bucket, impatient(s3_server)), f"s3://{bucket}/wh")
        straight.write(OLD)
        straight.write(kv((0, "again")))
        assert store.exclusive(f"{straight.path}/snapshot/snapshot-1")
        yield Lake(proxy, store, straight)


def _write(table: Table) -> object:
    return table.write(NEW)


def _compact(table: Table) -> object:
    return table.compact("full")


def _expire(table: Table) -> object:
    return table.expire(retain_max=1)


def _scan(table: Table) -> object:
    return rows_of(table)


Operation = Callable[[Table], object]
each = pytest.mark.parametrize(
    "operation", [_write, _compact, _expire, _scan], ids=lambda o: o.__name__.strip("_")
)


def _expected(lake: Lake, operation: Operation, *, done: bool) -> list[tuple[object, ...]]:
    old = {row[0]: row for row in [*OLD.rows(), (0, "again")]}
    if operation is _write and done:
        old |= {row[0]: row for row in NEW.rows()}
    return sorted(old.values(), key=repr)


@each
@pytest.mark.parametrize("seed", [1, 2])
def test_operations_get_through_a_storm(lake: Lake, operation: Operation, seed: int) -> None:
    """A quarter of all requests is turned away, breaks off, or gets no answer."""
    print(f"{seed=}")
    faults: list[Fault] = [slow_down(), internal_error(), Refuse(), LostAnswer(), CutAnswer(20)]
    options = replace(lake.store.options, attempts=12)
    store = S3Storage(lake.straight.path.split("/")[2], options)
    for number, fault in enumerate(faults):
        lake.proxy.on(Match(), fault, times=None, share=0.05, seed=10 * seed + number)
    operation(Table(handle_on(lake.straight.path, store)))
    lake.proxy.clear()

    assert lake.rows == _expected(lake, operation, done=True)
    assert orphans(lake.straight) == set()


BEGUN = [
    *((operation, begun) for operation in (_write, _compact, _expire) for begun in (0, 6, 12)),
    *((_scan, begun) for begun in (0, 4, 8)),
]


@pytest.mark.parametrize(
    ("operation", "begun"), BEGUN, ids=lambda v: v.__name__.strip("_") if callable(v) else str(v)
)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [(slow_down(), "SlowDown|Service Unavailable"), (time_too_skewed(), "clocks|access is denied")],
    ids=["slow", "skewed"],
)  # fmt: skip
def test_a_store_that_stays_away_is_named_and_the_next_run_is_well(
    lake: Lake, operation: Operation, fault: Answer, reason: str, begun: int
) -> None:
    """From the start, or from some request of the operation on; each has more than that."""
    rule = lake.proxy.on(Match(), fault, nth=begun + 1, times=None)
    with pytest.raises(Exception, match=reason):  # an engine hands on what a source said
        operation(lake.table)
    assert rule.hits
    lake.proxy.clear()

    assert lake.rows == _expected(lake, operation, done=False)
    operation(lake.table)
    assert lake.rows == _expected(lake, operation, done=True)


# --- publishing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [1, 3])
def test_a_publish_without_an_answer_is_one_snapshot(lake: Lake, lost: int) -> None:
    lake.proxy.on(SNAPSHOT, LostAnswer(), times=lost)
    outcome = lake.table.write(NEW)

    assert outcome is not None
    assert (outcome.snapshot_id, outcome.lost_races) == (3, 0)
    assert lake.straight.handle.snapshots.ids() == (1, 2, 3)
    assert lake.rows == _expected(lake, _write, done=True)
    assert orphans(lake.straight) == set()


def test_a_publish_without_any_answer_is_read_back(lake: Lake) -> None:
    lake.proxy.on(SNAPSHOT, LostAnswer(), times=None)
    outcome = lake.table.write(NEW)
    assert outcome is not None
    assert outcome.snapshot_id == 3
    assert lake.straight.handle.snapshots.ids() == (1, 2, 3)


def test_a_lost_race_without_an_answer_is_a_lost_race(lake: Lake) -> None:
    lake.proxy.on(SNAPSHOT, LostAnswer())
    theirs = lake.table  # reads the latest before the other one publishes
    other = reopened(lake.straight, lake.straight.handle.storage)
    store = _Before(lake.store, "snapshot-3", lambda: other.write(kv((50, "theirs"))))
    outcome = Table(handle_on(theirs.path, store)).write(NEW)
    assert outcome is not None
    assert (outcome.snapshot_id, outcome.lost_races) == (4, 1)
    assert (50, "theirs") in lake.rows
    assert orphans(lake.straight) == set()


class _Before(S3Storage):
    """Somebody else acts once, before an object is made."""

    def __init__(self, inner: S3Storage, part: str, action: Callable[[], object]) -> None:
        path = inner._bucket  # pyright: ignore[reportPrivateUsage]
        super().__init__(path, inner.options)
        self._part, self._action = part, action

    def create(self, path: str, data: bytes) -> bool:
        if path.endswith(self._part):
            self._part = "done"
            self._action()
        return super().create(path, data)


@pytest.mark.parametrize(
    ("fault", "arrives"),
    [(LostAnswer(), True), (CutUpload(5), False), (internal_error(), False)],
    ids=["made", "cut", "failed"],
)  # fmt: skip
@pytest.mark.parametrize("operation", [_write, _compact], ids=["write", "compact"])
def test_a_publish_whose_end_nobody_knows_deletes_nothing(
    lake: Lake, operation: Operation, fault: Fault, arrives: bool
) -> None:
    """And a later sweep finds out what became of it."""
    lake.proxy.on(SNAPSHOT, fault, times=None)

    def deaf() -> None:
        if arrives:
            lake.proxy.on(Match(kind="GET"), internal_error(), times=None)

    handle = handle_on(lake.straight.path, _Before(lake.store, "snapshot-3", deaf))
    task = Task.of(handle)
    act = partial(Table(handle).write, NEW) if operation is _write else task.run
    with pytest.raises(OutcomeUnknown):
        act()
    deleted = lake.proxy.seen(Match(method="DELETE"))
    assert all(".desilt-probe-" in one.request.path for one in deleted)
    assert not lake.proxy.seen(Match(kind="DELETE_MANY"))
    lake.proxy.clear()

    assert lake.straight.handle.snapshots.ids() == ((1, 2, 3) if arrives else (1, 2))
    assert lake.rows == _expected(lake, operation, done=arrives)
    if operation is _compact:
        swept = sweep(lake.straight.handle, task.task_id, "", 0)
        assert swept.committed == arrives
        assert orphans(lake.straight) == set()
    operation(lake.table)
    assert lake.rows == _expected(lake, operation, done=True)


# --- stores that promise less ---------------------------------------------------------------------


def test_listings_that_lag_behind_hide_no_commit(lake: Lake) -> None:
    """Writers, compactions and readers each see what was committed before they began."""
    lake.proxy.stale_listings(seconds=600)
    for number in range(5):
        lake.table.write(kv((number, f"lagging-{number}")))
        assert (number, f"lagging-{number}") in rows_of(lake.table)
    lake.store.overwrite(f"{lake.straight.path}/snapshot/LATEST", b"2")  # a hint may be lost
    lake.table.write(kv((9, "behind")))
    lake.store.delete([f"{lake.straight.path}/snapshot/LATEST"])
    lake.table.write(kv((10, "without")))
    lake.table.compact("full")
    shown = rows_of(lake.table)
    lake.proxy.stale_listings()

    assert shown == lake.rows
    assert {row[0] for row in lake.rows} == set(range(6)) | {9, 10}
    assert lake.straight.handle.snapshots.ids() == tuple(range(1, 11))


@pytest.fixture
def careless(lake: Lake) -> S3Storage:
    """A store that makes an object whether there is one or not: it never hears the condition.

    The condition is signed, so nobody can take it away on the way there.
    """
    store = S3Storage(lake.straight.path.split("/")[2], lake.store.options)

    def forget(params: dict[str, object], **_: object) -> None:
        params.pop("IfNoneMatch", None)

    client = store._client  # pyright: ignore[reportPrivateUsage]
    client.meta.events.register("before-parameter-build.s3.PutObject", forget)
    return store


def test_a_store_that_ignores_conditions_is_refused_for_writing_by_name(
    lake: Lake, careless: S3Storage
) -> None:
    before = lake.rows
    table = Table(handle_on(lake.straight.path, careless))
    assert not careless.exclusive(f"{table.path}/snapshot/snapshot-9")
    for act in (_write, _compact):
        with pytest.raises(UnsupportedFeature, match="ignores conditional puts"):
            act(table)
    assert rows_of(table) == before == lake.rows
    assert orphans(lake.straight) == set(), "neither the probe nor the files of the attempts"


def test_a_store_that_ignores_conditions_is_written_under_a_lock(
    lake: Lake, careless: S3Storage, tmp_path: Path
) -> None:
    warehouse = lake.straight.path.removesuffix("/db.db/t") + "/jdbc"
    catalog = JdbcCatalog(
        CatalogOptions("jdbc", warehouse=warehouse, uri=f"jdbc:sqlite:{tmp_path}/catalog.db"),
        storage=careless,
        world=WaitingWorld().world,
    )
    catalog.create_database("db")
    table = catalog.create_table(
        "db.t", {"k": "INT NOT NULL", "v": "STRING"}, primary_key=["k"], options={"bucket": "1"}
    )
    table.write(OLD)
    table.write(kv((0, "again")))
    table.compact("full")
    assert rows_of(catalog.table("db.t")) == _expected(lake, _compact, done=True)
    assert catalog.table("db.t").handle.snapshots.ids() == (1, 2, 3)


# --- hostile paths --------------------------------------------------------------------------------

HOSTILE = (
    "s3://{bucket}/wh/../other", "s3://{bucket}/../{bucket}/wh", "s3://{bucket}/wh/./t",
    "s3://{bucket}//wh", "s3://{bucket}/wh//t", "s3://", "s3:///wh", "s3://../wh",
)  # fmt: skip


def _by_configuration(warehouse: str, folder: Path) -> None:
    """What the daemon does with a warehouse that its configuration names."""
    (folder / "desilt.yaml").write_text(
        yaml.safe_dump(
            {
                "catalogs": [{"name": "lake", "warehouse": warehouse}],
                "policies": [{"name": "all", "match": "*", "compaction": {"kind": "universal"}}],
            }
        )
    )
    for catalog in load(folder / "desilt.yaml").catalogs:
        open_catalog(catalog)


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_places_are_refused_by_name(lake: Lake, path: str, tmp_path: Path) -> None:
    bucket = lake.straight.path.split("/")[2]
    path = path.format(bucket=bucket)
    with pytest.raises(InvalidRequest):
        Catalog(path, store=lake.store.options)
    with pytest.raises(InvalidRequest):
        open_table(path, store=lake.store.options)
    with pytest.raises((InvalidRequest, ConfigError)):
        _by_configuration(path, tmp_path)
    assert not lake.proxy.seen(Match(path=r"\.\.|//"))


@pytest.mark.parametrize("name", ["../x.t", "db.../t", "db./etc", "db.a/b", "db", ".t", "db.t\0"])
def test_hostile_names_are_refused_by_name(lake: Lake, name: str) -> None:
    catalog = Catalog(lake.straight.path.removesuffix("/db.db/t"), storage=lake.store)
    with pytest.raises(InvalidRequest):
        catalog.table(name)


def test_another_bucket_is_refused_by_name(lake: Lake) -> None:
    with pytest.raises((InvalidRequest, TableMissing)):
        open_table("s3://another-bucket/wh/db.db/t", storage=lake.store)


def test_a_missing_bucket_is_named(lake: Lake) -> None:
    with pytest.raises(StorageUnavailable, match="bucket does not exist"):
        Catalog("s3://no-such-bucket/wh", store=lake.store.options).tables()
