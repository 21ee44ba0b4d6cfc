"""Scans with a predicate, and lookups, of tables that others wrote: what the writer reads as a
whole, filtered.

Statistics, key ranges, footers and vectors are here the others' own. The seed is in a test's id and
in the text of a failure, with the table's shape and every change.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest
from support.alter import set_options
from support.append_histories import COLUMNS, AppendHistory
from support.canonical import Json
from support.engine_histories import EngineHistory
from support.engines import Cell
from support.frames import frame_of, rows_of
from support.histories import History, Row, alike
from support.matrix import ROWS
from support.peers import Peer
from support.players import Desilt, OfPeer, Play
from support.predicates import random_predicate
from support.seeds import seeds
from support.shapes import NESTED_TYPES, VALUE_TYPES, Limits, Shape

from desilt.table.scan_plan import Step

PREDICATES = 8
Comparable = Callable[[Sequence[Json]], Sequence[Json]]


@dataclass(frozen=True, slots=True)
class Held:
    """Reads of desilt held against the rows that a peer has read."""

    shape: Shape
    path: Path
    rows: Sequence[Row]
    story: object
    comparable: Comparable = tuple

    def check(self, rng: random.Random) -> None:
        """Random predicates and keys; the last predicate is explained, too."""
        whole = frame_of(self.shape, self.rows)
        last = pl.lit(True)
        for last in self._predicates(whole, rng):
            self._scan(whole, last, rng)
        if self.shape.keyed and whole.height:
            self._get(whole, rng)
        explained = Desilt().table(self.path).explain(filter=last)
        cut = sum(c.files for c in explained.cuts)
        assert explained.left.files + cut == explained.total_files, f"{last}\n{self.story}"

    def left_out(self, rng: random.Random) -> int:
        """How many files such predicates leave out."""
        whole, table = frame_of(self.shape, self.rows), Desilt().table(self.path)
        explained = [table.explain(filter=p) for p in self._predicates(whole, rng)]
        cuts = [cut for one in explained for cut in one.cuts]
        return sum(cut.files for cut in cuts if cut.step is not Step.HIDDEN)

    def _predicates(self, whole: pl.DataFrame, rng: random.Random) -> Iterator[pl.Expr]:
        for _ in range(PREDICATES):
            yield random_predicate(rng, whole)
        if self.shape.keyed and whole.height:
            yield random_predicate(rng, whole, self.shape.primary_keys)

    def _scan(self, whole: pl.DataFrame, predicate: pl.Expr, rng: random.Random) -> None:
        table = Desilt().table(self.path)
        passing = whole.filter(predicate)
        limit = rng.choice([1, 3])

        self._same(table.scan(filter=predicate).collect(), passing, predicate)
        few = table.scan(filter=predicate, limit=limit).collect()
        assert few.height == min(limit, passing.height), f"{predicate}\n{self.story}"
        assert set(self._texts(few)) <= set(self._texts(passing)), f"{predicate}\n{self.story}"

    def _get(self, whole: pl.DataFrame, rng: random.Random) -> None:
        keys = list(self.shape.primary_keys)
        wanted = whole.select(keys).sample(min(5, whole.height), seed=rng.randrange(99))
        mixed = pl.DataFrame([wanted.get_column(k).shuffle(seed=rng.randrange(99)) for k in keys])
        asked = pl.concat([wanted, mixed])
        # To Polars -0.0 is 0.0, to Paimon not.
        exact = [pl.col(k).cast(pl.String) if whole.schema[k].is_float() else k for k in keys]
        there = whole.join(asked, on=exact, how="semi")

        self._same(Desilt().table(self.path).get(asked), there, asked)

    def _same(self, found: pl.DataFrame, wanted: pl.DataFrame, of: object) -> None:
        ours, theirs = self._texts(found), self._texts(wanted)
        if ours != theirs:
            extra = [row for row in ours if row not in theirs][:5]
            missing = [row for row in theirs if row not in ours][:5]
            pytest.fail(f"{of}\n{self.story}\nextra: {extra}\nmissing: {missing}")

    def _texts(self, frame: pl.DataFrame) -> list[str]:
        return alike(map(self.comparable, rows_of(self.shape, frame)))


# --- engines --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(0, 2))
@pytest.mark.parametrize("cell", ROWS, ids=str)
def test_java_writes_and_compacts(java: Peer, tmp_path: Path, cell: Cell, seed: int) -> None:
    history, player = EngineHistory(seed, cell, "wild"), OfPeer(java)
    path = player.create(history.shape, tmp_path)
    for full in (True, False, None):
        player.write(history.shape, path, history.batch(40 if full else None))
        if full is not None:
            player.compact(path, full=full)
        rows = player.read(history.shape, path)
        held = Held(history.shape, path, rows, history, history.rules.comparable)
        held.check(history.rng)


# --- schemas --------------------------------------------------------------------------------------

ALTERED = {"java writes": 3, "java compacts": 1, "java compacts fully": 1, "java alters": 3}


def altered(peers: dict[str, Peer], home: Path, seed: int, *, keyed: bool) -> Play:
    play = Play(History(seed, keyed=keyed), peers, "java", home)
    steps = {s: n for s, n in ALTERED.items() if keyed or "compacts" not in s}
    play.step("java writes")
    for _ in range(5):
        (step,) = play.history.rng.choices(list(steps), list(steps.values()))
        play.step(step)
    play.step("java writes")
    return play


def held_by(play: Play, name: str) -> Held:
    shape = play.history.shape
    return Held(shape, play.path, play.players[name].read(shape, play.path), play.history)


@pytest.mark.parametrize("seed", seeds(100, 12))
def test_java_alters(java: Peer, tmp_path: Path, seed: int) -> None:
    play = altered({"java": java}, tmp_path, seed, keyed=seed % 3 > 0)

    held_by(play, "java").check(play.history.rng)


# --- vectors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", seeds(200, 6))
def test_java_deletes_by_vectors(java: Peer, tmp_path: Path, seed: int) -> None:
    history = AppendHistory(seed, {"java": java}, tmp_path)
    shape = Shape(COLUMNS, (), ("p",), {})
    for _ in range(6):
        history.step()
        held = Held(shape, history.path, java.read(history.path)["rows"], history)
        if held.rows:
            held.check(history.rng)


# --- other writers --------------------------------------------------------------------------------


NANOS = frozenset(text for text in VALUE_TYPES if "TIMESTAMP(9)" in text)
NESTED = frozenset(NESTED_TYPES)  # nobody notes bounds of them
# See `test_histories` for what keeps these two to less.
OLDEST = Limits(
    without_types=NANOS | NESTED,
    plain_float_keys=True,
    descending=False,
    options={"file.compression": ["", "snappy", "gzip"]},
)
PYPAIMON = Limits(
    without_types=NESTED, plain_float_keys=True, round_decimal_keys=False, null_partitions=False
)
PYPAIMON_KEYED = replace(PYPAIMON, without_types=NESTED | NANOS)


@pytest.mark.parametrize("seed", seeds(300, 8))
def test_the_oldest_java_writes(java09: Peer, tmp_path: Path, seed: int) -> None:
    written_by(java09, "java09", History(seed, OLDEST, keyed=seed % 3 > 0), tmp_path)


@pytest.mark.parametrize("seed", seeds(400, 12))
def test_pypaimon_writes(pypaimon: Peer, tmp_path: Path, seed: int) -> None:
    keyed = seed % 2 > 0
    history = History(seed, PYPAIMON_KEYED if keyed else PYPAIMON, keyed=keyed)
    written_by(pypaimon, "pypaimon", history, tmp_path)


def written_by(peer: Peer, name: str, history: History, home: Path) -> None:
    play = Play(history, {name: peer}, name, home)
    for _ in range(3):
        play.step(f"{name} writes")

    held_by(play, name).check(history.rng)


def test_what_others_noted_leaves_files_out(java: Peer, tmp_path: Path) -> None:
    """Were nothing ever left out, the tests above would say nothing."""
    left_out = 0
    for seed in range(100, 104):
        play = altered({"java": java}, tmp_path / str(seed), seed, keyed=seed % 3 > 0)
        left_out += held_by(play, "java").left_out(play.history.rng)

    assert left_out > 30


def test_partitions_of_different_numbers_of_buckets(java: Peer, tmp_path: Path) -> None:
    """Those that are there keep theirs, new ones take the new number: Java writes and reads so."""
    columns = {"p": "INT NOT NULL", "k": "INT NOT NULL", "v": "STRING"}
    shape = Shape(columns, ("p", "k"), ("p",), {"bucket": "2"})
    path = Desilt().create(shape, tmp_path)

    def batch(partition: int) -> list[list[Json]]:
        return [["+I", partition, k, f"{partition}.{k}"] for k in range(30)]

    Desilt().write(shape, path, batch(0))
    set_options(Desilt().table(path), bucket="5")
    Desilt().write(shape, path, batch(1))
    java.write(path, batch(2))
    java.write(path, batch(1))

    rows = java.read(path)["rows"]
    assert len(rows) == 90
    held = Held(shape, path, rows, "three partitions")
    held.check(random.Random(1))
    assert held.left_out(random.Random(1)) > 0
