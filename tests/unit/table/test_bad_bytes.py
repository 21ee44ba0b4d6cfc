"""Every file of a table cut at many places, and with single bits turned over.

A cut file is always noticed. A turned bit may hit something that nobody reads, or a value that no
checksum guards; but what is raised is an error of ours that names the place, never one of a
library, and nothing is changed.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from support.builders import append_table, catalog, keyed_table, reopened, rows_of, upserts
from support.faulty import files_below

from desilt.table.compact import RewriteOptions, discard, rewrite
from desilt.table.decision import PlanOptions
from desilt.table.errors import CorruptTable, TableError
from desilt.table.observe import TableObserver
from desilt.table.table import Table

KINDS = ("schema/schema-", "snapshot/snapshot-", "manifest/manifest-list-", "manifest/manifest-",
         "bucket-0/data-")  # fmt: skip
FLIPS = 24


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Two level-0 files over one at the bottom; another table beside it."""
    folder = tmp_path_factory.mktemp("keyed")
    table = keyed_table(folder)
    table.write(upserts(40, "a"))
    table.compact("full")
    table.write(upserts(20, "b", step=2))
    table.delete(pl.DataFrame({"k": [3, 4]}))
    _neighbour(folder)
    return table


@pytest.fixture(scope="module")
def appended(tmp_path_factory: pytest.TempPathFactory) -> Table:
    folder = tmp_path_factory.mktemp("appended")
    table = append_table(folder)
    for number in range(3):
        table.write(pl.DataFrame({"n": range(30), "v": [f"{number}"] * 30}))
    _neighbour(folder)
    return table


def _neighbour(folder: Path) -> None:
    catalog(folder).create_table("db.other", {"n": "INT"}).write(pl.DataFrame({"n": [1, 2]}))


def files_of(table: Table, kind: str) -> list[Path]:
    """The files of a kind that the newest snapshot needs, the newest first."""
    found = [Path(p) for p in files_below(table.path) if f"/{kind}" in p]
    if kind == "manifest/manifest-":
        found = [p for p in found if "manifest-list-" not in p.name]
    if kind == "snapshot/snapshot-":
        return sorted(found)[-1:]
    if kind == "manifest/manifest-list-":
        latest = table.handle.snapshots.latest()
        assert latest is not None
        names = (latest.base_manifest_list, latest.delta_manifest_list)
        return [Path(table.path, "manifest", name) for name in names]
    return sorted(found, key=lambda p: (p.stat().st_mtime_ns, p.name), reverse=True)[:3]


def scan(table: Table) -> None:
    table.scan().collect()


def observe(table: Table) -> None:
    observer = TableObserver(table.handle)
    observer.refresh()
    observer.health(0)


def rewrite_all(table: Table) -> None:
    """A full compaction as far as the commit."""
    observer = TableObserver(table.handle)
    observer.refresh()
    plan = observer.plan("", 0, str(uuid.uuid4()), PlanOptions("full"))
    if plan is not None:
        discard(table.handle, plan, rewrite(plan, RewriteOptions(), table.handle))


Act = Callable[[Table], None]
ACTS: tuple[Act, ...] = (scan, observe, rewrite_all)


def complaints(table: Table, path: Path, data: bytes) -> list[TableError]:
    """With ``path`` holding ``data``: what each act says; nothing may change, or hurt others."""
    honest = path.read_bytes()
    found: list[TableError] = []
    path.write_bytes(data)
    try:
        before = files_below(table.path)
        for act in ACTS:
            try:
                act(reopened(table))
            except TableError as error:
                found.append(error)
            assert files_below(table.path) == before
        assert path.read_bytes() == data
        warehouse = catalog(Path(table.path).parents[1])
        assert warehouse.tables() == ("db.other", "db.t")
        assert rows_of(warehouse.table("db.other")) == [(1,), (2,)]
    finally:
        path.write_bytes(honest)
    return found


def places(error: TableError) -> str:
    return f"{error.context.get('table')} {error.context.get('file')}"


tables = pytest.mark.parametrize("which", ["keyed", "appended"])


@tables
@pytest.mark.parametrize("kind", KINDS)
def test_cut_file_is_named_by_whoever_reads_it(
    request: pytest.FixtureRequest, which: str, kind: str
) -> None:
    table: Table = request.getfixturevalue(which)
    path = files_of(table, kind)[0]
    data = path.read_bytes()
    cuts = {0, 1, 4, *(len(data) * n // 8 for n in range(1, 8)), len(data) - 9, len(data) - 1}
    readers = 2 if kind == "bucket-0/data-" else 3  # looking reads no data

    for cut in sorted(cuts):
        found = complaints(table, path, data[:cut])

        assert len(found) == readers, f"cut at {cut}"
        assert all(isinstance(e, CorruptTable) for e in found)
        assert {places(e) for e in found} == {f"db.t {path}"}


@tables
@pytest.mark.parametrize("kind", KINDS)
def test_turned_bits_raise_nothing_but_our_errors(
    request: pytest.FixtureRequest, which: str, kind: str
) -> None:
    table: Table = request.getfixturevalue(which)
    rng = random.Random(f"{which} {kind}")
    noticed = 0
    for path in files_of(table, kind):
        data = path.read_bytes()
        for _ in range(FLIPS // len(files_of(table, kind))):
            changed = bytearray(data)
            for _ in range(rng.choice([1, 1, 1, 4])):
                changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            found = complaints(table, path, bytes(changed))
            noticed += bool(found)
            assert all(e.context.get("table") == "db.t" for e in found), [str(e) for e in found]

    assert noticed > 0


@tables
@pytest.mark.parametrize("kind", KINDS)
def test_file_full_of_zeros_is_named(request: pytest.FixtureRequest, which: str, kind: str) -> None:
    """What a machine that lost its power leaves behind: the right size, and nothing in it."""
    table: Table = request.getfixturevalue(which)
    path = files_of(table, kind)[0]

    found = complaints(table, path, bytes(path.stat().st_size))

    assert {places(e) for e in found} == {f"db.t {path}"}


@pytest.mark.parametrize("kind", KINDS[:4])
def test_write_to_a_table_with_a_cut_file_is_refused_and_leaves_nothing(
    tmp_path: Path, kind: str
) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    path = files_of(table, kind)[0]
    path.write_bytes(path.read_bytes()[:-5])
    before = files_below(table.path)

    with pytest.raises(CorruptTable) as caught:
        reopened_without_a_look(table).write(upserts(5, "b"))

    assert places(caught.value) == f"db.t {path}"
    assert files_below(table.path) == before


def reopened_without_a_look(table: Table) -> Table:
    return Table(table.handle)
