"""The demo's model, its log and its follower, which the proof believes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.builders import keyed_table, kv

from desilt.daemon.config import load
from desilt.daemon.demo.kinds import KINDS, Kind, Values, newest_of_each_group, totals
from desilt.daemon.demo.log import Log, Sent, read_log
from desilt.daemon.demo.proof import Proof, prove
from desilt.daemon.demo.replay import Follower
from desilt.daemon.demo.run import demo_config
from desilt.daemon.demo.watch import Watcher
from desilt.daemon.service import rules_of
from desilt.table.catalog import Catalog
from desilt.table.change_reader import Changes
from desilt.table.table import Table

PLAIN = Kind(
    "db.t", "", {"k": "BIGINT NOT NULL", "v": "STRING"}, lambda _: iter(()), lambda h, k, v: v
)


def test_model_takes_each_group_by_its_own_time() -> None:
    held: Values | None = None
    for values in (
        ("ann", 5, None, None),
        (None, None, "bonn", 9),
        ("too late", 4, None, None),
        (None, None, "cork", 10),
    ):
        held = newest_of_each_group(held, "+I", values)

    assert held == ("ann", 5, "cork", 10)


def test_model_sums_takes_the_highest_and_the_last_that_is_known() -> None:
    held = totals(None, "+I", (2, 500, "ann"))
    held = totals(held, "+I", (3, 400, None))

    assert held == (5, 500, "ann")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_streams_write_no_key_twice_in_a_commit(kind: Kind) -> None:
    """Which of two would win then is not said anywhere."""
    for batch in islice(kind.stream(random.Random(3)), 20):
        keys = [event[1] for event in batch]
        assert len(keys) == len(set(keys)) > 0
        assert {len(event) for event in batch} == {1 + len(kind.columns)}


def test_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "sent.jsonl"
    with path.open("w") as file:
        log = Log(file)
        log.sends("demo.events", 0, [("+I", 1, "a", 5), ("+I", 2, "b", 6)])
        log.acknowledges("demo.events", 0)
        log.sends("demo.events", 1, [("-D", 1, None, None), ("+U", 2, "c", 7)])

    sent = read_log(path)["demo.events"]

    assert sent.rows == {2: ("c", 7)}
    assert (sent.batches, sent.events, sent.acknowledged) == (2, 4, 1)


def follower(table: Table, *changes: Sequence[Any]) -> Follower:
    """Somebody who was told these changes, each of kind, key, value."""
    made = Follower(PLAIN, table)
    rows = pl.DataFrame([c[1:] for c in changes], schema=PLAIN.schema, orient="row")
    made.take(Changes(1, rows, pl.Series([c[0] for c in changes])))
    return made


@pytest.mark.parametrize(
    ("changes", "misfits"),
    [
        ([("+I", 1, "a"), ("-U", 1, "a"), ("+U", 1, "b"), ("-D", 1, "b"), ("+I", 1, "c")], 0),
        ([("+I", 1, "a"), ("+I", 1, "b")], 1),
        ([("+I", 1, "a"), ("-D", 1, "b")], 1),
        ([("-D", 1, "a")], 1),
        ([("+U", 1, "a")], 1),
        ([("+I", 1, "a"), ("-U", 1, "a"), ("+I", 1, "b")], 1),
    ],
)
def test_follower_counts_changes_that_do_not_fit(
    tmp_path: Path, changes: list[tuple[str, int, str]], misfits: int
) -> None:
    assert follower(keyed_table(tmp_path), *changes).misfits == misfits


def proof_of(table: Table, rows: dict[int, Values], *told: Sequence[Any]) -> Proof:
    sent = Sent(PLAIN.merge, rows, batches=1, acknowledged=1)
    return prove(PLAIN, table, sent, follower(table, *told), snapshots_max=2)


def test_proof_counts_what_is_wrong(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, columns=PLAIN.columns)
    table.write(kv((1, "a"), (2, "b"), (4, "d")).cast({"k": pl.Int64}))
    told = [("+I", 1, "a"), ("+I", 2, "b"), ("+I", 4, "d")]
    rows: dict[int, Values] = {1: ("a",), 2: ("b",), 4: ("d",)}

    assert proof_of(table, rows, *told).holds
    wrong = proof_of(table, {1: ("a",), 2: ("x",), 3: ("c",)}, *told[:2])
    assert (wrong.lost, wrong.changed, wrong.unexpected, wrong.untold) == (1, 1, 1, 1)
    assert not wrong.holds
    for _ in range(2):
        table.write(kv((1, "a")).cast({"k": pl.Int64}))
    assert not proof_of(table, rows, *told).holds  # more snapshots than there may be


def test_a_watcher_sees_what_is_due(tmp_path: Path) -> None:
    """The daemon's own score: by it the demo knows when the tables rest."""
    kind = next(kind for kind in KINDS if kind.name == "demo.profiles")
    table = Catalog(str(tmp_path)).create_table(
        kind.name, kind.columns, primary_key=[kind.key], options=kind.options
    )
    (tmp_path / "desilt.yaml").write_text(
        demo_config(str(tmp_path), tmp_path / "state.db", "127.0.0.1:0")
    )
    watcher = Watcher(kind, table, rules_of(load(tmp_path / "desilt.yaml")))
    rows = pl.DataFrame([[1, "a", 1, "b", 1]], schema=kind.schema, orient="row")
    for written in range(1, 7):
        table.write(rows)
        look = watcher.look()
        assert (look.sorted_runs, look.resting) == (written, written < 5)
