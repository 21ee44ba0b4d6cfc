"""Seeded histories played by desilt and the peers on one table: whoever reads finds the model's rows.

A failure names its seed in the test's id and prints the shape and every step; run that id again to
see it again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.canonical import Json, ScalarType, float_text, parse_type
from support.histories import Batch, History, Limits, Row, Shape, alike
from support.peers import Peer

from desilt.table.catalog import Catalog, open_table

_INTEGERS = {"TINYINT": pl.Int8, "SMALLINT": pl.Int16, "INT": pl.Int32, "BIGINT": pl.Int64}
_PER_MILLI = {"ms": 1, "us": 1_000, "ns": 1_000_000}


# --- desilt as a player: canonical rows in, canonical rows out ----------------------------------


def _unit(kind: ScalarType) -> Any:
    return "ms" if kind.precision <= 3 else "us" if kind.precision <= 6 else "ns"


def _series(name: str, type_text: str, values: Sequence[Any]) -> pl.Series:
    """A column of wire values as Polars holds it; exact, through physical numbers."""
    kind = parse_type(type_text)
    root = kind.root
    if root in _INTEGERS:
        return pl.Series(name, values, _INTEGERS[root])
    if root in ("FLOAT", "DOUBLE"):
        numbers = [None if v is None else float(v) for v in values]
        return pl.Series(name, numbers, pl.Float64).cast(
            pl.Float32 if root == "FLOAT" else pl.Float64
        )
    if root == "DECIMAL":
        return pl.Series(name, values, pl.String).cast(pl.Decimal(kind.precision, kind.scale))
    if root in ("BINARY", "VARBINARY", "BYTES"):
        return pl.Series(
            name, [None if v is None else bytes.fromhex(v) for v in values], pl.Binary
        )
    if root == "DATE":
        return pl.Series(name, values, pl.String).str.to_date("%Y-%m-%d")
    if root == "TIME":
        return pl.Series(
            name, [None if v is None else v * 1_000_000 for v in values], pl.Int64
        ).cast(pl.Time)
    if root in ("TIMESTAMP", "TIMESTAMP_LTZ"):
        per = _PER_MILLI[_unit(kind)]
        ticks = [None if v is None else v["ms"] * per + v["ns"] * per // 1_000_000 for v in values]
        zone = "UTC" if root == "TIMESTAMP_LTZ" else None
        return pl.Series(name, ticks, pl.Int64).cast(pl.Datetime(_unit(kind), zone))
    return pl.Series(name, values, pl.Boolean if root == "BOOLEAN" else pl.String)


def frame_of(shape: Shape, rows: Sequence[Row]) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True))
    return pl.DataFrame(
        [
            _series(name, text, values)
            for (name, text), values in zip(shape.columns.items(), columns, strict=True)
        ]
    )


def _wire(type_text: str, series: pl.Series) -> list[Json]:
    kind = parse_type(type_text)
    root = kind.root
    if root in ("FLOAT", "DOUBLE"):
        return [None if v is None else float_text(v) for v in series.to_list()]
    if root == "DECIMAL":
        return [None if v is None else f"{v:f}" for v in series.to_list()]
    if root in ("BINARY", "VARBINARY", "BYTES"):
        return [None if v is None else v.hex() for v in series.to_list()]
    if root == "DATE":
        return [None if v is None else v.isoformat() for v in series.to_list()]
    if root == "TIME":
        return [None if v is None else v // 1_000_000 for v in series.to_physical().to_list()]
    if root in ("TIMESTAMP", "TIMESTAMP_LTZ"):
        per = _PER_MILLI[_unit(kind)]
        return [
            None if v is None else {"ms": v // per, "ns": v % per * 1_000_000 // per}
            for v in series.to_physical().to_list()
        ]
    return series.to_list()


def rows_of(shape: Shape, frame: pl.DataFrame) -> list[Row]:
    assert frame.columns == shape.names
    columns = [_wire(text, frame.get_column(name)) for name, text in shape.columns.items()]
    return [list(row) for row in zip(*columns, strict=True)]


def desilt_reads(shape: Shape, path: Path, snapshot: int | None = None) -> list[str]:
    frame = open_table(str(path)).scan(snapshot_id=snapshot).collect()
    return alike(rows_of(shape, frame))


def desilt_writes(shape: Shape, path: Path, batch: Batch) -> None:
    kinds = pl.Series([row[0] for row in batch], dtype=pl.String)
    table = open_table(str(path))
    table.write(frame_of(shape, [row[1:] for row in batch]), kinds=kinds if shape.keyed else None)


def desilt_deletes(shape: Shape, path: Path, rows: Sequence[Row]) -> None:
    keys = {*shape.primary_keys, *shape.partition_keys, *filter(None, [shape.sequence])}
    frame = frame_of(shape, rows)
    open_table(str(path)).delete(frame.select(n for n in shape.names if n in keys))


def desilt_compacts(path: Path, mode: str) -> None:
    open_table(str(path)).compact("minor" if mode == "minor" else "full", verify="full")


def peer_reads(shape: Shape, peer: Peer, path: Path, snapshot: int | None = None) -> list[str]:
    found = peer.read(path, snapshot=snapshot)
    assert found["columns"] == shape.names
    return alike(found["rows"])


# --- the players --------------------------------------------------------------------------------


def created_by_peer(history: History, peer: Peer, warehouse: Path) -> Path:
    shape = history.shape
    return peer.create_table(
        warehouse,
        "t",
        shape.columns,
        partition_keys=shape.partition_keys,
        primary_keys=shape.primary_keys,
        options=shape.options,
    )


def created_by_desilt(history: History, warehouse: Path) -> Path:
    shape = history.shape
    table = Catalog(str(warehouse)).create_table(
        "default.t",
        dict(shape.columns),
        primary_key=shape.primary_keys,
        partition_by=shape.partition_keys,
        options=shape.options,
    )
    return Path(table.path)


class Play:
    """One history on one table: steps by name, and what was expected after each snapshot."""

    def __init__(self, history: History, path: Path, steps: Mapping[str, Callable[[], None]]):
        self.history = history
        self.path = path
        self.steps = steps
        self.moments: dict[int, tuple[Shape, list[str]]] = {}

    def step(self, name: str) -> None:
        self.history.note(name)
        self.steps[name]()
        latest = open_table(str(self.path)).handle.snapshots.latest_id()
        if latest is not None:
            self.moments[latest] = (self.history.shape, self.history.expected)

    def run(self, count: int, weights: Mapping[str, int]) -> None:
        """Takes ``count`` random steps and has desilt read after each."""
        for _ in range(count):
            names = list(weights)
            self.step(self.history.rng.choices(names, list(weights.values()))[0])
            self.check("desilt", desilt_reads(self.history.shape, self.path))

    def check(self, reader: str, found: list[str]) -> None:
        if found != self.history.expected:
            expected = self.history.expected
            extra = [row for row in found if row not in expected][:5]
            missing = [row for row in expected if row not in found][:5]
            pytest.fail(
                f"{reader} read {len(found)} rows, not {len(expected)}\n{self.history}\n"
                f"extra: {extra}\nmissing: {missing}"
            )


def steps_of(history: History, path: Path, java: Peer) -> dict[str, Callable[[], None]]:
    def java_writes() -> None:
        java.write(path, history.batch())

    def desilt_writes_() -> None:
        desilt_writes(history.shape, path, history.batch())

    def desilt_deletes_() -> None:
        desilt_deletes(history.shape, path, history.deletes())

    def java_alters() -> None:
        changes = history.evolve()
        history.note(f"  {changes}")
        java.alter(path, changes)

    return {
        "java writes": java_writes,
        "java compacts fully": lambda: _ignore(java.compact(path)),
        "java compacts": lambda: _ignore(java.compact(path, full=False)),
        "java alters": java_alters,
        "desilt writes": desilt_writes_,
        "desilt deletes": desilt_deletes_,
        "desilt compacts fully": lambda: desilt_compacts(path, "full"),
        "desilt compacts": lambda: desilt_compacts(path, "minor"),
    }


def _ignore(_: object) -> None: ...



@pytest.mark.parametrize("seed", range(60))
def test_java_first(java: Peer, java09: Peer, pypaimon: Peer, tmp_path: Path, seed: int) -> None:
    history = History(seed, keyed=seed % 4 != 3)
    path = created_by_peer(history, java, tmp_path)
    play = Play(history, path, steps_of(history, path, java))
    weights = {
        "java writes": 4, "desilt compacts": 2, "desilt compacts fully": 2,
        "java compacts": 1, "desilt writes": 1, "java alters": 1, "desilt deletes": 1
    }
    if not history.shape.keyed:
        del weights["desilt deletes"]
    play.run(8, weights)
    fails = []
    nine = any("(9)" in t and "TIMESTAMP" in t for t in history.shape.types)
    for name, peer in {"java": java, "java09": java09, "pypaimon": pypaimon}.items():
        if nine and name != "java":
            continue
        try:
            play.check(name, peer_reads(history.shape, peer, path))
        except (Exception, pytest.fail.Exception) as e:
            fails.append(f"{name}: {e}")
    if fails:
        pytest.fail("FF " + "\nFF ".join(fails) + f"\n{history}")
