"""Random histories of a table against a plain dict: writes, deletes, compactions, time travel."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.builders import append_table, keyed_table, reopened

from desilt.table.table import Table

Row = tuple[object, ...]
PER_KEY_TYPE = 25
"""Histories for each of the twelve key types: 300 in all."""

_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
_instant = st.datetimes(datetime(1901, 1, 1), datetime(2100, 1, 1))  # noqa: DTZ001  # wall clock
KEYS: dict[str, st.SearchStrategy[object]] = {
    "TINYINT": st.integers(-128, 127),
    "SMALLINT": st.integers(-32768, 32767),
    "INT": st.integers(-(2**31), 2**31 - 1),
    "BIGINT": st.integers(-(2**63), 2**63 - 1),
    "BOOLEAN": st.booleans(),
    "STRING": _text,
    "BYTES": st.binary(max_size=10),
    "DECIMAL(9, 2)": st.decimals(-9999999, 9999999, places=2),
    "DECIMAL(30, 4)": st.decimals(Decimal(-(10**25)), Decimal(10**25), places=4),
    "DATE": st.dates(date(1900, 1, 1), date(2200, 1, 1)),
    "TIMESTAMP(6)": _instant,
    "TIMESTAMP(3)": _instant.map(lambda t: t - timedelta(microseconds=t.microsecond % 1000)),
}


@dataclass(frozen=True)
class Write:
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Delete:
    keys: tuple[object, ...]


@dataclass(frozen=True)
class Compact:
    mode: str


Step = Write | Delete | Compact


def steps(keys: st.SearchStrategy[object]) -> st.SearchStrategy[list[Step]]:
    """Histories of at least ten steps over few keys, so that they meet again."""
    value = st.one_of(st.none(), st.integers(-5, 5))

    def histories(pool: list[object]) -> st.SearchStrategy[list[Step]]:
        key = st.sampled_from(pool)
        rows = st.lists(st.tuples(key, value), min_size=1, max_size=6).map(tuple)
        step: st.SearchStrategy[Step] = st.one_of(
            rows.map(Write),
            rows.map(Write),
            st.lists(key, min_size=1, max_size=4).map(lambda k: Delete(tuple(k))),
            st.sampled_from(("minor", "full")).map(Compact),
        )
        return st.lists(step, min_size=10, max_size=14)

    return st.lists(keys, min_size=3, max_size=8).flatmap(histories)


@dataclass
class Model:
    """What the table must hold, now and at each snapshot."""

    rows: dict[object, object] = field(default_factory=dict[object, object])
    kept: dict[int, dict[object, object]] = field(default_factory=dict[int, dict[object, object]])

    def write(self, rows: tuple[Row, ...]) -> None:
        for key, value in rows:
            self.rows[key] = value

    def delete(self, keys: tuple[object, ...]) -> None:
        for key in keys:
            self.rows.pop(key, None)

    def remember(self, snapshot_id: int) -> None:
        self.kept[snapshot_id] = dict(self.rows)


def frame(table: Table, rows: tuple[Row, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=table.schema.polars, orient="row")


def keys_frame(table: Table, keys: tuple[object, ...]) -> pl.DataFrame:
    return pl.DataFrame({"k": keys}, schema={"k": table.schema.polars["k"]})


def act(table: Table, model: Model, step: Step) -> None:
    """Do one step to both; every snapshot it makes is remembered."""
    match step:
        case Write(rows):
            model.write(rows)
            outcome = table.write(frame(table, rows))
            assert outcome is not None
            model.remember(outcome.snapshot_id)
        case Delete(keys):
            model.delete(keys)
            outcome = table.delete(keys_frame(table, keys))
            assert outcome is not None
            model.remember(outcome.snapshot_id)
        case Compact(mode):
            summary = table.compact("full" if mode == "full" else "minor", verify="full")
            if summary.snapshot_id is not None:
                for done in summary.buckets:
                    model.remember(done.outcome.snapshot_id)


def held(table: Table, snapshot_id: int | None = None) -> dict[object, object]:
    found = table.scan(columns=["k", "v"], snapshot_id=snapshot_id).collect()
    rows = dict(found.iter_rows())
    assert len(rows) == found.height, "a key came twice"
    return rows


def check(table: Table, model: Model) -> None:
    fresh = reopened(table)
    assert held(fresh) == model.rows
    for snapshot_id, rows in list(model.kept.items())[::4]:
        assert held(fresh, snapshot_id) == rows


def test_history_holds_what_a_dict_holds() -> None:
    """Every key type, two buckets; every fourth snapshot is read again at the end."""
    for key_type, keys in KEYS.items():
        _history_of(key_type, keys)


def _history_of(key_type: str, keys: st.SearchStrategy[object]) -> None:
    @given(history=steps(keys))
    @settings(
        max_examples=PER_KEY_TYPE,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    def run(history: list[Step]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            table = keyed_table(
                folder,
                columns={"k": f"{key_type} NOT NULL", "v": "INT"},
                options={"bucket": "2", "num-sorted-run.compaction-trigger": "3"},
            )
            model = Model()
            for step in history:
                act(table, model, step)
            check(table, model)

    run()


@given(
    history=st.lists(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 50), st.integers(0, 9)), min_size=1),
        min_size=4,
        max_size=8,
    ),
    descending=st.booleans(),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_sequence_field_decides_whatever_the_order_of_writing(
    history: list[list[tuple[int, int, int]]], descending: bool
) -> None:
    """The largest (or smallest) sequence of a key wins; ties fall to the later row."""
    order = "descending" if descending else "ascending"
    with tempfile.TemporaryDirectory() as folder:
        table = keyed_table(
            folder,
            columns={"k": "INT NOT NULL", "s": "INT", "v": "INT"},
            options={"sequence.field": "s", "sequence.field.sort-order": order},
        )
        best: dict[int, tuple[int, int]] = {}
        for rows in history:
            for key, sequence, value in rows:
                held_now = best.get(key)
                wins = held_now is None or (
                    sequence <= held_now[0] if descending else sequence >= held_now[0]
                )
                if wins:
                    best[key] = (sequence, value)
            table.write(pl.DataFrame(rows, schema=table.schema.polars, orient="row"))

        before = {k: (s, v) for k, s, v in table.scan().collect().iter_rows()}
        table.compact("full", verify="full")
        after = {k: (s, v) for k, s, v in table.scan().collect().iter_rows()}

        assert before == best
        assert after == best


@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, 99), _text), min_size=1, max_size=5),
        min_size=10,
        max_size=14,
    ),
    options=st.sampled_from(
        (
            {"bucket": "-1", "compaction.min.file-num": "3"},
            {"bucket": "2", "bucket-key": "n", "compaction.min.file-num": "3"},
        )
    ),
    compact_at=st.sets(st.integers(0, 13), max_size=4),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_append_history_keeps_every_row(
    batches: list[list[tuple[int, str]]], options: Mapping[str, str], compact_at: set[int]
) -> None:
    """No row is lost or doubled by packing; in fixed buckets the order of rows stays, too."""
    with tempfile.TemporaryDirectory() as folder:
        table = append_table(folder, options=options)
        sent: list[tuple[int, str]] = []
        for index, batch in enumerate(batches):
            sent += batch
            table.write(pl.DataFrame(batch, schema=table.schema.polars, orient="row"))
            if index in compact_at:
                table.compact("full" if index % 2 else "minor", verify="full")

        found = table.scan().collect().rows()

        assert sorted(found) == sorted(sent)
        if options["bucket"] != "-1":
            for key in {row[0] for row in sent}:
                assert [r for r in found if r[0] == key] == [r for r in sent if r[0] == key]
