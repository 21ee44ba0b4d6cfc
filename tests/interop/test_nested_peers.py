"""Nested columns between desilt and the peers: ids, layout, values, and fields that come and go."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.canonical import Json
from support.histories import Row, alike
from support.peers import Peer
from support.players import DESILT, Desilt, OfPeer, Player
from support.shapes import NESTED_TYPES, Shape, random_value

Players = dict[str, Player]

DEEP = {
    "k": "INT NOT NULL",
    "r": "ROW<x INT, y ROW<z STRING, w ARRAY<ROW<q DATE>>>>",
    "v": "BIGINT",
    "m": "MAP<INT, ROW<a ARRAY<ARRAY<INT>>, b MULTISET<STRING>>>",
}
# pypaimon knows no multisets, cuts nanoseconds off where it merges, and pyarrow refuses its rows
# where a NOT NULL field lies in a null ROW.
UNREAD_BY_PYPAIMON = frozenset({"MULTISET<STRING>", "ROW<n ARRAY<TIMESTAMP(9)>>"})
UNWRITTEN_BY_PYPAIMON = UNREAD_BY_PYPAIMON | {
    "ARRAY<ROW<x DOUBLE, y BYTES NOT NULL>>",
    "ROW<m MAP<BIGINT, STRING>, `größe 1` FLOAT NOT NULL>",
}


@pytest.fixture(scope="module")
def players(java: Peer, java09: Peer, pypaimon: Peer) -> Players:
    peers = {"java": OfPeer(java), "java09": OfPeer(java09), "pypaimon": OfPeer(pypaimon)}
    return {DESILT: Desilt(), **peers}


def shape_of(columns: dict[str, str], *, keyed: bool = True) -> Shape:
    options = {"bucket": "1"} if keyed else {"bucket": "-1"}
    return Shape(columns, ("k",) if keyed else (), (), options)


def schema_file(path: Path) -> dict[str, Any]:
    return dict(json.loads((path / "schema/schema-0").read_text()))


# --- ids and layout -----------------------------------------------------------------------------


def test_field_ids_of_a_new_table_equal_javas(players: Players, tmp_path: Path) -> None:
    shape = shape_of(DEEP)
    ours, theirs = (
        schema_file(players[name].create(shape, tmp_path / name)) for name in (DESILT, "java")
    )

    assert ours["fields"] == theirs["fields"]
    assert ours["highestFieldId"] == theirs["highestFieldId"] == 10


def layout(folder: Path) -> list[tuple[str, int, int]]:
    """Leaves of the one data file: path, definition and repetition levels."""
    (path,) = folder.glob("bucket-0/*.parquet")
    schema = pq.read_metadata(path).schema
    leaves = [schema.column(i) for i in range(len(schema.names))]
    return [(c.path, c.max_definition_level, c.max_repetition_level) for c in leaves]


def field_ids(folder: Path) -> str:
    """The schema as text with all ids, without annotations, which libraries word differently."""
    (path,) = folder.glob("bucket-0/*.parquet")
    lines = str(pq.read_metadata(path).schema).splitlines()[2:]
    return "\n".join(re.sub(r" \(.*\)|[{;]", "", line).rstrip() for line in lines)


@pytest.mark.parametrize("other", ["BIGINT", "TIME(3)"], ids=["by-polars", "by-pyarrow"])
def test_data_files_have_javas_layout_and_ids(players: Players, tmp_path: Path, other: str) -> None:
    shape = shape_of({**DEEP, "v": other, "n": "ARRAY<ROW<a INT NOT NULL> NOT NULL> NOT NULL"})
    row: Row = ["+I", 1, {"row": [1, {"row": ["a", [{"row": ["2026-10-01"]}]]}]}, 2]
    row += [{"map": [[1, {"row": [[[1]], {"map": [["a", 1]]}]}]]}, [{"row": [5]}]]
    ours, theirs = (players[name].create(shape, tmp_path / name) for name in (DESILT, "java"))
    players[DESILT].write(shape, ours, [row])
    players["java"].write(shape, theirs, [row])

    assert layout(ours) == layout(theirs)
    assert field_ids(ours) == field_ids(theirs)


# --- values -------------------------------------------------------------------------------------


def rows_for(text: str, seed: int) -> list[Row]:
    rng = random.Random(seed)
    return [[i, None if rng.random() < 0.15 else random_value(rng, text)] for i in range(30)]


def readers(text: str, writer: str) -> list[str]:
    """Java 0.9 writes nested columns well, but reads few of them (see `test_histories`)."""
    others = ["java"] if writer == "java09" or text in UNREAD_BY_PYPAIMON else ["java", "pypaimon"]
    return [DESILT, *others]


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "append"])
@pytest.mark.parametrize("text", NESTED_TYPES)
def test_values_are_read_by_everybody(
    players: Players, tmp_path: Path, text: str, keyed: bool
) -> None:
    """Whoever wrote them, and after desilt and Java rewrote them."""
    shape = shape_of({"k": "INT NOT NULL", "v": text}, keyed=keyed)
    for writer in players:
        if writer == "pypaimon" and text in UNWRITTEN_BY_PYPAIMON:
            continue
        rows = rows_for(text, len(writer))
        path = players[writer].create(shape, tmp_path / writer)
        half = len(rows) // 2
        for part in (rows[:half], rows[half:]):
            players[writer].write(shape, path, [["+I", *row] for row in part])
        for compactor in (None, DESILT, *(["java"] if keyed else [])):
            if compactor is not None:
                players[compactor].compact(path, full=True)
            for reader in readers(text, writer):
                found = alike(players[reader].read(shape, path))
                assert found == alike(rows), f"{writer}, {compactor}, {reader}"


# --- evolution ----------------------------------------------------------------------------------

Wrap = tuple[str, list[str], Callable[[Json], Json]]
WRAPS: dict[str, Wrap] = {
    "row": ("{}", [], lambda row: row),
    "array": ("ARRAY<{}>", ["element"], lambda row: [row, None]),
    "map": ("MAP<STRING, {}>", ["value"], lambda row: {"map": [["x", row], ["y", None]]}),
}


@pytest.mark.parametrize("name", WRAPS)
def test_fields_that_java_alters_are_followed(
    java: Peer, players: Players, tmp_path: Path, name: str
) -> None:
    """Added, renamed to another one's old name, dropped, widened; at two depths."""
    text, path, wrapped = WRAPS[name]

    def shape(row: str) -> Shape:
        return shape_of({"k": "INT NOT NULL", "c": text.format(row)})

    def write(player: str, shape: Shape, key: int, row: list[Json] | None) -> None:
        value = wrapped(None if row is None else {"row": row})
        players[player].write(shape, table, [["+I", key, value]])

    first = shape("ROW<a INT, b STRING, i ROW<x INT, y FLOAT>>")
    table = players["java"].create(first, tmp_path)
    write("java", first, 1, [1, "one", {"row": [10, "1.5"]}])
    write("java", first, 2, [2, None, None])
    write(DESILT, first, 3, None)
    at = ["c", *path]
    changes = [
        {"op": "drop", "path": [*at, "b"]},
        {"op": "rename", "path": [*at, "a"], "to": "b"},
        {"op": "add", "path": [*at, "a"], "type": "ARRAY<DATE>"},
        {"op": "type", "path": [*at, "b"], "type": "BIGINT"},
        {"op": "type", "path": [*at, "i", "y"], "type": "DOUBLE"},
        {"op": "drop", "path": [*at, "i", "x"]},
        {"op": "add", "path": [*at, "i", "z"], "type": "ROW<q INT>"},
    ]
    java.alter(table, changes)
    second = shape("ROW<b BIGINT, i ROW<y DOUBLE, z ROW<q INT>>, a ARRAY<DATE>>")
    write(DESILT, second, 4, [2**40, {"row": ["2.5", {"row": [None]}]}, ["2026-10-01", None]])
    write("java", second, 5, [None, None, []])
    rows: dict[int, list[Json] | None] = {
        1: [1, {"row": ["1.5", None]}, None],
        2: [2, None, None],
        3: None,
        4: [2**40, {"row": ["2.5", {"row": [None]}]}, ["2026-10-01", None]],
        5: [None, None, []],
    }
    wanted = alike(
        [key, wrapped(None if row is None else {"row": row})] for key, row in rows.items()
    )
    assert alike(players[DESILT].read(second, table)) == wanted
    assert alike(players["java"].read(second, table)) == wanted

    players[DESILT].compact(table, full=True)
    assert alike(players[DESILT].read(second, table)) == wanted
    assert alike(players["java"].read(second, table)) == wanted
    players["java"].compact(table, full=True)
    assert alike(players[DESILT].read(second, table)) == wanted
