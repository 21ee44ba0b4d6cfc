"""Histories over tables of every shape: key types, composite keys, partitions, buckets, sequences.

Beside `test_table_properties.py`, which goes deep on one key column, this goes wide: it compares
with `KeyedModel` after each history, whose keys and partitions come from small pools of extremes.
"""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders import keyed_table, orphans
from support.model import KeyedModel, Row

from desilt.table.datatypes import parse_type, to_polars
from desilt.table.decision import Mode
from desilt.table.table import Table


def _wall(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)  # type: ignore[arg-type,misc]  # no zone among parts


# Each type's values come from a small pool, so that keys meet again; the pools hold the extremes.
POOLS: dict[str, tuple[object, ...]] = {
    "BOOLEAN": (True, False),
    "TINYINT": (-128, -1, 0, 1, 127),
    "SMALLINT": (-32768, -1, 0, 300, 32767),
    "INT": (-(2**31), -1, 0, 1, 256, 2**31 - 1),
    "BIGINT": (-(2**63), -1, 0, 1, 2**53 + 1, 2**63 - 1),
    "FLOAT": (-math.inf, -1.5, -0.0, 0.0, 0.5, math.inf, math.nan),
    "DOUBLE": (-math.inf, -1.5, -0.0, 0.0, 1e300, math.inf, math.nan),
    "DECIMAL(5, 2)": tuple(map(Decimal, ("-999.99", "-0.01", "0.00", "999.99"))),
    "DECIMAL(38, 10)": tuple(map(Decimal, (f"-{10**27}.5", "-0.0000000001", "0", f"{10**27}"))),
    "CHAR(2)": ("aa", "ab", "zz"),
    "STRING": ("", " ", "a", "ab", "b", "é", "\uff5a", "\U0001f600", "a" * 20, "a" * 20 + "b"),
    "VARBINARY(9)": (b"", b"\0", b"\x7f", b"\x80", b"\xff\xff"),
    "DATE": (date(1, 1, 1), date(1969, 12, 31), date(1970, 1, 1), date(9999, 12, 31)),
    "TIME(3)": (time(0), time(1, 2, 3, 4000), time(23, 59, 59, 999000)),
    "TIMESTAMP(3)": (_wall(1900, 1, 1), _wall(1970, 1, 1), _wall(2024, 1, 1, 1, 1)),
    "TIMESTAMP(6)": (_wall(1, 1, 1), _wall(1969, 12, 31, 23, 59, 59, 999999)),
    "TIMESTAMP(9)": (_wall(1700, 1, 1), _wall(1970, 1, 1, 0, 0, 0, 1)),
    "TIMESTAMP(3) WITH LOCAL TIME ZONE": (
        datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """A table's key types and options; the other columns are ``p``, ``s`` and ``v``."""

    keys: tuple[str, ...]
    partitioned: bool = False
    buckets: int = 1
    sequence: str | None = None  # "ascending" or "descending"
    small_files: bool = True

    @property
    def columns(self) -> dict[str, str]:
        keys = {f"k{i}": f"{t} NOT NULL" for i, t in enumerate(self.keys)}
        part = {"p": "STRING NOT NULL"} if self.partitioned else {}
        return {**keys, **part, "s": "BIGINT", "v": "STRING"}

    @property
    def key_columns(self) -> list[str]:
        return [n for n in self.columns if n[0] in "kp"]

    @property
    def options(self) -> dict[str, str]:
        options = {"bucket": str(self.buckets), "num-sorted-run.compaction-trigger": "2"}
        if self.sequence is not None:
            options |= {"sequence.field": "s", "sequence.field.sort-order": self.sequence}
        if not self.small_files:
            options["compaction.small-file-ratio"] = "0"
        return options

    def model(self) -> KeyedModel:
        names = list(self.columns)
        keys = tuple(names.index(n) for n in self.key_columns)
        sequence = names.index("s") if self.sequence is not None else None
        return KeyedModel(keys, sequence, self.sequence == "descending")

    def build(self, folder: Path) -> Table:
        return keyed_table(
            folder,
            columns=self.columns,
            primary_key=self.key_columns,
            partition_by=["p"] if self.partitioned else [],
            options=self.options,
        )


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    keys = draw(st.lists(st.sampled_from(sorted(POOLS)), min_size=1, max_size=2))
    return Shape(
        tuple(keys),
        partitioned=draw(st.booleans()),
        buckets=draw(st.sampled_from((1, 2))),
        sequence=draw(st.sampled_from((None, "ascending", "descending"))),
        small_files=draw(st.booleans()),
    )


@dataclass(frozen=True)
class Step:
    """One operation; ``keys`` are pool positions, the last one that of the partition."""

    do: str
    keys: tuple[tuple[int, ...], ...] = ()


_KEYS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 1)), min_size=1, max_size=5
).map(tuple)
STEPS = st.one_of(
    st.builds(Step, st.just("write"), _KEYS),
    st.builds(Step, st.just("write"), _KEYS),
    st.builds(Step, st.just("delete"), _KEYS),
    st.sampled_from((Step("minor"), Step("full"))),
)


class History:
    """One table and its model, driven side by side."""

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.table = shape.build(folder)
        self.model = shape.model()
        self._types = {n: to_polars(parse_type(t)) for n, t in shape.columns.items()}
        self._numbers = itertools.count()

    def act(self, step: Step) -> None:
        rows = [self._row(k) for k in step.keys]
        if step.do == "write":
            outcome = self.table.write(self._frame(rows))
            self.model.write(rows)
        elif step.do == "delete" and self.shape.sequence is None:
            # Paimon forgets deletes in a full compaction, and with them their sequence.
            outcome = self.table.delete(self._frame(rows).select(self.shape.key_columns))
            self.model.delete(rows)
        else:
            self._compact("minor" if step.do == "minor" else "full")
            return
        if outcome is not None:
            self.model.committed(outcome.snapshot_id)

    def check(self) -> None:
        """The newest rows, those of some old snapshots, and that nothing lies about."""
        assert self.rows() == self._expected(self.model.rows)
        for snapshot_id in sorted(self.model.states)[::5]:
            assert self.rows(snapshot_id) == self._expected(self.model.states[snapshot_id])
        assert orphans(self.table) == set()

    def rows(self, snapshot_id: int | None = None) -> list[str]:
        return _texts(self.table.scan(snapshot_id=snapshot_id).collect())

    def _compact(self, mode: Mode) -> None:
        summary = self.table.compact(mode, verify="full")
        if summary.snapshot_id is not None:
            self.model.committed(summary.snapshot_id)

    def _expected(self, rows: dict[str, Row]) -> list[str]:
        return _texts(self._frame(list(rows.values())))

    def _row(self, key: Sequence[int]) -> Row:
        number = next(self._numbers)
        pools = [POOLS[t] for t in self.shape.keys]
        keys = [pool[i % len(pool)] for pool, i in zip(pools, key, strict=False)]
        part = [f"p{key[2]}"] if self.shape.partitioned else []
        # Sequences come in no order, and never twice: Paimon leaves ties open.
        sequence = None if number == 0 else number * 7919 % 100_003 - 50_000
        return (*keys, *part, sequence, f"v{number}")

    def _frame(self, rows: Sequence[Row]) -> pl.DataFrame:
        columns = [
            pl.Series(name, [row[i] for row in rows], dtype, strict=False)
            for i, (name, dtype) in enumerate(self._types.items())
        ]
        return pl.DataFrame(columns)


def _texts(frame: pl.DataFrame) -> list[str]:
    """Rows as sorted text: −0.0 is not 0.0 there, and NaN is NaN."""
    return sorted(map(repr, frame.iter_rows()))


@settings(
    max_examples=20,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(shape=shapes(), steps=st.lists(STEPS, min_size=10, max_size=12))
def test_a_table_of_any_shape_holds_what_a_dict_holds(
    shape: Shape, steps: list[Step], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("history")
    history = History(shape, folder)
    for step in steps:
        history.act(step)
    history.act(Step("full"))
    history.check()
    shutil.rmtree(folder)


@pytest.mark.parametrize("key_type", POOLS)
def test_every_key_type_keeps_the_last_row_of_each_key(key_type: str, tmp_path: Path) -> None:
    history = History(Shape((key_type,)), tmp_path)
    everything = tuple((i, 0, 0) for i in range(len(POOLS[key_type])))
    for step in (
        Step("write", everything), Step("minor"), Step("write", everything[::2]),
        Step("delete", everything[1::3]), Step("full"), Step("write", everything[:1]),
    ):  # fmt: skip
        history.act(step)
        history.check()

    assert len(history.model.rows) > 0
