"""Bad input: an error that says what, where and in which file, and nothing changed on disk."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest
from support.builders import append_table, catalog, keyed_table, kv, reopened, upserts
from support.faulty import files_below

from desilt.table.catalog import Catalog, open_table
from desilt.table.errors import (
    CorruptTable,
    DesiltError,
    FileMissing,
    InvalidRequest,
    TableError,
    TableMissing,
    UnsupportedFeature,
)
from desilt.table.manifest.codec import read_manifest, write_manifest
from desilt.table.manifest.entry import EntryKind
from desilt.table.manifest.index import DeletionRange, IndexEntry, write_index_manifest
from desilt.table.observe import TableObserver
from desilt.table.row import encode_row
from desilt.table.table import Table

NOW = 1_700_000_000_000


@pytest.fixture
def table(tmp_path: Path) -> Table:
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    table.write(upserts(5, "b", start=3))
    return table


# --- what is done to a table ----------------------------------------------------------------------


def _open(table: Table) -> object:
    return open_table(table.path)


def _scan(table: Table) -> object:
    return table.scan().collect()


def _compact(table: Table) -> object:
    return table.compact("full")


def _write(table: Table) -> object:
    return table.write(kv((9, "c")))


def _observe(table: Table) -> object:
    observer = TableObserver(table.handle)
    observer.refresh()
    return observer.health(NOW)


EVERYTHING = (_scan, _compact, _write, _observe)
READS_ROWS = (_scan, _compact)


# --- what is done to its files --------------------------------------------------------------------


def _snapshot_path(table: Table) -> Path:
    return Path(f"{table.path}/snapshot/snapshot-2")


def _of_snapshot(table: Table, key: str) -> Path:
    return Path(f"{table.path}/manifest/{json.loads(_snapshot_path(table).read_bytes())[key]}")


def _list(table: Table) -> Path:
    return _of_snapshot(table, "deltaManifestList")


def _manifest(table: Table) -> Path:
    records = fastavro.reader(io.BytesIO(_list(table).read_bytes()))
    name = next(iter(records))["_FILE_NAME"]
    return Path(f"{table.path}/manifest/{name}")


def _data(table: Table) -> Path:
    return sorted(Path(table.path).glob("**/*.parquet"))[0]


def _edit_json(path: Path, **changes: object) -> None:
    edited = {**json.loads(path.read_bytes()), **changes}
    path.write_text(json.dumps({k: v for k, v in edited.items() if v is not ...}))


def _edit_avro(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    reader = fastavro.reader(io.BytesIO(path.read_bytes()))
    records: list[dict[str, Any]] = [dict(r) for r in reader]
    for record in records:
        edit(record)
    out = io.BytesIO()
    fastavro.writer(out, reader.writer_schema, records)
    path.write_bytes(out.getvalue())


def _edit_entries(table: Table, **columns: object) -> Path:
    path = _manifest(table)
    entries = read_manifest(path.read_bytes(), str(path), stats=True)
    changed = entries.with_columns(
        pl.lit(value, dtype=entries.schema[name]).alias(name) for name, value in columns.items()
    )
    path.write_bytes(write_manifest(changed))
    return path


def _cut(path: Path, keep: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def _garbage(path: Path) -> Path:
    path.write_bytes(bytes(range(256)) * 8)
    return path


def _gone(path: Path) -> Path:
    path.unlink()
    return path


def _cutting(find: Callable[[Table], Path], keep: float) -> Callable[[Table], object]:
    return lambda table: _cut(find(table), keep)


def _renaming(name: str) -> Callable[[Table], object]:
    return lambda table: _edit_entries(table, name=name)


@dataclass(frozen=True)
class Case:
    """One kind of damage: what does it, what error it is, what words the message must have."""

    name: str
    damage: Callable[[Table], object]
    error: type[TableError]
    words: tuple[str, ...]
    acts: tuple[Callable[[Table], object], ...] = EVERYTHING


CASES = (
    *(
        Case(f"snapshot cut to {keep}", _cutting(_snapshot_path, keep),
             CorruptTable, ("snapshot-2",))
        for keep in (0, 0.3, 0.95)
    ),
    Case("snapshot is garbage", lambda t: _garbage(_snapshot_path(t)), CorruptTable,
         ("snapshot-2",)),
    Case("snapshot is a list", lambda t: _snapshot_path(t).write_text("[]"), CorruptTable,
         ("snapshot-2",)),
    Case("snapshot lacks a field",
         lambda t: _edit_json(_snapshot_path(t), deltaManifestList=...), CorruptTable,
         ("snapshot-2", "field=deltaManifestList")),
    Case("snapshot has another id", lambda t: _edit_json(_snapshot_path(t), id=7), CorruptTable,
         ("snapshot-2", "id=7")),
    Case("snapshot version", lambda t: _edit_json(_snapshot_path(t), version=4),
         UnsupportedFeature, ("snapshot-2", "version=4")),
    Case("snapshot version is text", lambda t: _edit_json(_snapshot_path(t), version="new"),
         CorruptTable, ("snapshot-2",)),
    Case("commit kind", lambda t: _edit_json(_snapshot_path(t), commitKind="REWIND"),
         UnsupportedFeature, ("snapshot-2", "kind=REWIND")),
    Case("manifest list escapes", lambda t: _edit_json(_snapshot_path(t),
         baseManifestList="../../x"), CorruptTable, ("escapes", "../../x")),
    Case("manifest list is absolute", lambda t: _edit_json(_snapshot_path(t),
         deltaManifestList="/etc/passwd"), CorruptTable, ("escapes", "/etc/passwd")),
    *(
        Case(f"manifest list cut to {keep}", _cutting(_list, keep),
             CorruptTable, ("manifest-list-",))
        for keep in (0, 0.3, 0.95)
    ),
    Case("manifest list is garbage", lambda t: _garbage(_list(t)), CorruptTable,
         ("manifest-list-",)),
    Case("manifest list is gone", lambda t: _gone(_list(t)), FileMissing, ("manifest-list-",)),
    Case("manifest list version", lambda t: _edit_avro(_list(t), lambda r: r.update(_VERSION=3)),
         UnsupportedFeature, ("manifest-list-", "version=3")),
    Case("manifest escapes",
         lambda t: _edit_avro(_list(t), lambda r: r.update(_FILE_NAME="../schema/schema-0")),
         CorruptTable, ("escapes", "../schema/schema-0")),
    *(
        Case(f"manifest cut to {keep}", _cutting(_manifest, keep),
             CorruptTable, ("manifest-",))
        for keep in (0, 0.5, 0.95)
    ),
    Case("manifest is garbage", lambda t: _garbage(_manifest(t)), CorruptTable, ("manifest-",)),
    Case("manifest is gone", lambda t: _gone(_manifest(t)), FileMissing, ("manifest-",)),
    Case("manifest version", lambda t: _edit_avro(_manifest(t), lambda r: r.update(_VERSION=3)),
         UnsupportedFeature, ("manifest-", "version=3")),
    Case("a file is removed that was never added", lambda t: _edit_entries(t, kind=1),
         CorruptTable, ("removed that is not there", "file=data-")),
    Case("schema cut", lambda t: _cut(Path(f"{t.path}/schema/schema-0"), 0.5), CorruptTable,
         ("schema-0",)),
    Case("schema version",
         lambda t: _edit_json(Path(f"{t.path}/schema/schema-0"), version=99),
         UnsupportedFeature, ("schema-0", "version=99")),
    Case("schema lacks a field",
         lambda t: _edit_json(Path(f"{t.path}/schema/schema-0"), fields=...), CorruptTable,
         ("schema-0", "field=fields")),
    Case("schema has another id", lambda t: _edit_json(Path(f"{t.path}/schema/schema-0"), id=4),
         CorruptTable, ("schema-0", "id=4")),
    *(
        Case(f"data file named {name}", _renaming(name),
             CorruptTable, ("escapes", f"file={name}"), READS_ROWS)
        for name in ("../x.parquet", "/tmp/x.parquet", "a/b.parquet", "..\\x.parquet",
                     "x\0.parquet")
    ),
    Case("data file is gone", lambda t: _gone(_data(t)), FileMissing, (".parquet",), READS_ROWS),
    *(
        Case(f"data file cut to {keep}", _cutting(_data, keep),
             CorruptTable, (".parquet",), READS_ROWS)
        for keep in (0, 0.5, 0.99)
    ),
    Case("data file is garbage", lambda t: _garbage(_data(t)), CorruptTable, (".parquet",),
         READS_ROWS),
    Case("data file lacks a column",
         lambda t: pl.read_parquet(_data(t)).drop("v").write_parquet(_data(t)), CorruptTable,
         (".parquet", "column=v"), READS_ROWS),
    Case("data file lacks rows",
         lambda t: pl.read_parquet(_data(t)).head(3).write_parquet(_data(t)), CorruptTable,
         (".parquet", "rows=3"), (_compact,)),
    Case("data file holds text where numbers belong",
         lambda t: pl.read_parquet(_data(t)).with_columns(
             pl.lit("x").alias("_KEY_k")).write_parquet(_data(t)), CorruptTable,
         (".parquet",), (_compact,)),
    Case("data file is out of order",
         lambda t: pl.read_parquet(_data(t)).reverse().write_parquet(_data(t)), CorruptTable,
         (".parquet", "ascend"), (_compact,)),
    Case("data file holds a key twice",
         lambda t: pl.read_parquet(_data(t))[[0, 0, 1, 2, 3]].write_parquet(_data(t)),
         CorruptTable, (".parquet", "ascend"), (_compact,)),
    Case("file of another format", lambda t: _edit_entries(t, name="data-x-0.orc"),
         UnsupportedFeature, ("format", "data-x-0.orc"), READS_ROWS),
    Case("file outside the table", lambda t: _edit_entries(t, external_path="s3://x/y.parquet"),
         UnsupportedFeature, ("external", "file=data-"), READS_ROWS),
    Case("bounds upside down", lambda t: _upside_down(t), CorruptTable,
         ("smallest key", "file=data-"), (_scan, _compact, _observe)),
    Case("key bound is no row", lambda t: _edit_entries(t, min_key=b"\1"), CorruptTable,
         ("file=data-",), (_scan, _compact, _observe)),
)  # fmt: skip


def _upside_down(table: Table) -> Path:
    path = _manifest(table)
    entries = read_manifest(path.read_bytes(), str(path), stats=True)
    low, high = entries["max_key"][0], entries["min_key"][0]
    return _edit_entries(table, min_key=low, max_key=high)


@pytest.mark.parametrize(
    ("case", "act"),
    [pytest.param(c, a, id=f"{c.name}-{a.__name__[1:]}") for c in CASES for a in c.acts],
)
def test_damage_is_named_and_nothing_is_changed(
    case: Case, act: Callable[[Table], object], table: Table
) -> None:
    damaged = Table(table.handle)
    case.damage(table)
    before = {path: Path(path).read_bytes() for path in files_below(table.path)}

    with pytest.raises(case.error) as raised:
        act(damaged)

    message = str(raised.value)
    assert all(word in message for word in case.words), message
    assert "db.t" in message or table.path in message, message
    assert {path: Path(path).read_bytes() for path in files_below(table.path)} == before


def test_a_damaged_old_snapshot_is_named_before_anything_is_rewritten(table: Table) -> None:
    """The newest one can still be read; changing such a table would be reckless."""
    _garbage(Path(f"{table.path}/snapshot/snapshot-1"))

    assert len(table.scan().collect()) == 8
    with pytest.raises(CorruptTable, match="snapshot-1"):
        table.compact("full")


@pytest.mark.parametrize("hint", ["", "x", "99", "-1", "1", "0x2"])
def test_a_wrong_hint_is_only_a_hint(hint: str, table: Table) -> None:
    Path(f"{table.path}/snapshot/LATEST").write_text(hint)
    Path(f"{table.path}/snapshot/EARLIEST").write_text(hint)

    assert len(table.scan().collect()) == 8
    assert table.compact("full").snapshot_id == 3


# --- refused by name when the table is opened -----------------------------------------------------

OPTIONS = [
    ("merge-engine", "made-up"),
    ("changelog-producer", "made-up"),
    ("deletion-vectors.enabled", "perhaps"),
    ("file.format", "orc"),
    ("bucket", "x"),
    ("bucket", "-1"),
    ("bucket", "-2"),
    ("bucket", "0"),
    ("num-levels", "1"),
    ("num-sorted-run.compaction-trigger", "five"),
    ("num-sorted-run.compaction-trigger", "1"),
    ("target-file-size", "12 parsecs"),
    ("compaction.small-file-ratio", "half"),
    ("metadata.stats-dense-store", "perhaps"),
    ("file.compression", "brotli"),
    ("sequence.field.sort-order", "sideways"),
    ("record-level.expire-time", "soon"),
    ("fields.v.aggregator", "sum"),
    ("write.sequence-number-init-mode", "made-up"),
]


@pytest.mark.parametrize(("option", "value"), OPTIONS)
def test_an_option_that_is_not_understood_is_refused_by_name(
    option: str, value: str, table: Table
) -> None:
    path = Path(f"{table.path}/schema/schema-0")
    options = json.loads(path.read_bytes())["options"]
    _edit_json(path, options={**options, option: value})
    before = files_below(table.path)

    for act in (_open, *EVERYTHING):
        with pytest.raises(UnsupportedFeature, match=re.escape(option)) as raised:
            act(table)
        assert value in str(raised.value)
        assert "db.t" in str(raised.value), str(raised.value)
    assert files_below(table.path) == before


@pytest.mark.parametrize("option", ["snapshot.num-retained.min", "my-own", "consumer.x", "path"])
def test_an_option_that_changes_no_file_is_left_alone(option: str, table: Table) -> None:
    path = Path(f"{table.path}/schema/schema-0")
    _edit_json(path, options={**json.loads(path.read_bytes())["options"], option: "anything"})

    assert len(open_table(table.path).scan().collect()) == 8


@pytest.mark.parametrize(
    ("type_value", "word"),
    [
        ("ARRAY<INT>", "ARRAY"),
        ({"type": "VECTOR", "element": "FLOAT", "length": 3}, "VECTOR"),
        ({"type": "ARRAY", "element": "BLOB"}, "BLOB"),
        ("VARIANT", "VARIANT"),
        ("MONEY", "MONEY"),
        ("INT INT", "INT INT"),
    ],
)
def test_a_type_that_is_not_understood_is_refused_by_name(
    type_value: object, word: str, table: Table
) -> None:
    path = Path(f"{table.path}/schema/schema-0")
    fields = json.loads(path.read_bytes())["fields"]
    fields[1]["type"] = type_value
    _edit_json(path, fields=fields)

    with pytest.raises(UnsupportedFeature, match=word) as raised:
        open_table(table.path)

    assert "schema-0" in str(raised.value)
    assert "column=v" in str(raised.value)


@pytest.mark.parametrize("type_value", [7, None, ["INT"], "DECIMAL(99, 2)", "TIMESTAMP(12)"])
def test_a_type_that_makes_no_sense_is_corrupt(type_value: object, table: Table) -> None:
    path = Path(f"{table.path}/schema/schema-0")
    fields = json.loads(path.read_bytes())["fields"]
    fields[1]["type"] = type_value
    _edit_json(path, fields=fields)

    with pytest.raises((CorruptTable, UnsupportedFeature), match="schema-0"):
        open_table(table.path)


@pytest.mark.parametrize(
    "changes",
    [
        {"primaryKeys": ["nope"]},
        {"partitionKeys": ["nope"]},
        {"fields": [{"id": 0, "name": "_KEY_k", "type": "INT"}]},
        {"fields": {}},
        {"fields": None},
        {"options": ["bucket"]},
        {"id": "zero"},
    ],
    ids=str,
)
def test_a_schema_that_contradicts_itself_is_corrupt(
    changes: dict[str, object], table: Table
) -> None:
    _edit_json(Path(f"{table.path}/schema/schema-0"), **changes)

    with pytest.raises(CorruptTable, match="schema-0"):
        open_table(table.path)


def test_an_index_that_is_not_understood_is_refused_by_name(table: Table) -> None:
    entry = IndexEntry(EntryKind.ADD, encode_row((), ()), 0, "HASH", "index-0", 4, 1)
    Path(f"{table.path}/manifest/index-1").write_bytes(write_index_manifest([entry]))
    _edit_json(_snapshot_path(table), indexManifest="index-1")
    before = files_below(table.path)

    for act in (_scan, _compact, _observe):
        with pytest.raises(UnsupportedFeature, match="HASH"):
            act(table)
    assert files_below(table.path) == before


def test_deletion_vectors_of_a_table_that_has_none_are_refused(table: Table) -> None:
    """They were left behind when the option was switched off; nobody knows what they mean now."""
    ranges = (DeletionRange("data-x-0.parquet", 1, 24, 2),)
    entry = IndexEntry(
        EntryKind.ADD, encode_row((), ()), 0, "DELETION_VECTORS", "index-0", 33, 1, ranges
    )
    Path(f"{table.path}/manifest/index-1").write_bytes(write_index_manifest([entry]))
    _edit_json(_snapshot_path(table), indexManifest="index-1")

    for act in (_scan, _compact):
        with pytest.raises(UnsupportedFeature, match=r"deletion-vectors\.enabled"):
            act(table)


# --- warehouses, and other tables go on -----------------------------------------------------------


def test_a_missing_warehouse_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"warehouse does not exist.*nowhere"):
        Catalog(str(tmp_path / "nowhere")).tables()


def test_an_empty_warehouse_has_no_tables(tmp_path: Path) -> None:
    assert Catalog(str(tmp_path)).tables() == ()


def test_foreign_files_in_a_warehouse_are_ignored(tmp_path: Path) -> None:
    keyed_table(tmp_path)
    (tmp_path / "README").write_text("hello")
    (tmp_path / "other.db").mkdir()
    (tmp_path / "db.db" / "not-a-table").mkdir()
    (tmp_path / "db.db" / "stray.txt").write_text("x")
    (tmp_path / "db.db" / "t" / "notes.txt").write_text("x")
    (tmp_path / "db.db" / "t" / "bucket-0").mkdir()
    (tmp_path / "db.db" / "t" / "bucket-0" / "notes.parquet").write_text("x")
    (tmp_path / "dangling.db").symlink_to(tmp_path / "nowhere")

    assert Catalog(str(tmp_path)).tables() == ("db.t",)
    assert Catalog(str(tmp_path)).table("db.t").scan().collect().is_empty()


def test_a_broken_table_does_not_hide_the_others(tmp_path: Path) -> None:
    warehouse = catalog(tmp_path)
    broken = keyed_table(tmp_path)
    whole = warehouse.create_table("db.whole", {"n": "INT"})
    whole.write(pl.DataFrame({"n": [1]}))
    _garbage(Path(f"{broken.path}/schema/schema-0"))

    assert warehouse.tables() == ("db.t", "db.whole")
    assert len(warehouse.table("db.whole").scan().collect()) == 1
    with pytest.raises(CorruptTable):
        warehouse.table("db.t")


@pytest.mark.parametrize("name", ["t", "db.", ".t", "db.../x", "../db.t", "db.a/b", "db.a.b", ""])
def test_a_name_that_is_no_table_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DesiltError):
        Catalog(str(tmp_path)).table(name)


def test_a_table_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(TableMissing, match=r"db\.t"):
        Catalog(str(tmp_path)).table("db.t")
    os.makedirs(tmp_path / "db.db" / "t")
    with pytest.raises(TableMissing, match=r"db\.t"):
        Catalog(str(tmp_path)).table("db.t")


def test_an_unknown_scheme_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedFeature, match="scheme=gopher"):
        Catalog("gopher://lake")


# --- rows that do not fit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        (pl.DataFrame({"k": [1], "nope": [1]}), "column=nope"),
        (pl.DataFrame({"v": ["a"]}), "column=k"),
        (pl.DataFrame({"k": [None], "v": ["a"]}), "column=k"),
        (pl.DataFrame({"k": ["x"], "v": ["a"]}), "column=k"),
        (pl.DataFrame({"k": [2**40], "v": ["a"]}), "column=k"),
    ],
    ids=["unknown column", "missing key", "null key", "wrong type", "too large"],
)
def test_rows_that_do_not_fit_are_refused_by_column(
    rows: pl.DataFrame, word: str, table: Table
) -> None:
    before = files_below(table.path)

    with pytest.raises(TableError, match=word):
        table.write(rows)

    assert files_below(table.path) == before


def test_an_append_table_takes_no_deletes(tmp_path: Path) -> None:
    table = append_table(tmp_path)

    with pytest.raises(InvalidRequest, match="primary key"):
        table.delete(pl.DataFrame({"n": [1]}))
    with pytest.raises(InvalidRequest, match="primary key"):
        table.write(pl.DataFrame({"n": [1]}), kinds=pl.Series(["-D"]))


def test_time_travel_to_a_snapshot_that_is_not_there_is_refused(table: Table) -> None:
    with pytest.raises(InvalidRequest, match="snapshot_id=77"):
        reopened(table).scan(snapshot_id=77)
