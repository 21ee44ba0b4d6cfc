"""Seeded histories that desilt and the peers play on one table: whoever reads finds the same rows.

A failure names its seed in the test's id and prints the table's shape and every step; run that id
again to see it again. What a peer cannot do is kept out of its histories by `Limits`, each entry
with its reason.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.histories import History
from support.peers import Peer
from support.players import DESILT, Play
from support.shapes import Limits, Shape

Peers = dict[str, Peer]

NANOS = frozenset({"TIMESTAMP(9)", "TIMESTAMP(9) WITH LOCAL TIME ZONE"})
LIMITS = Limits()
# pypaimon's merge cuts nanoseconds off, also in tables that Java alone wrote.
PYPAIMON = replace(LIMITS, without_types=NANOS)
# Java 0.9 has one zero and no NaN in keys, and ignores sequence.field.sort-order.
JAVA09 = replace(LIMITS, plain_floats=True, descending=False)

EVERYBODY = replace(JAVA09, without_types=NANOS)

# fmt: off
BY_JAVA = {
    "java writes": 4, "java compacts": 1, "java compacts fully": 1, "java alters": 1,
    "desilt writes": 1, "desilt compacts": 3, "desilt compacts fully": 2, "desilt deletes": 1,
}
BY_PYPAIMON = {
    "pypaimon writes": 5, "java compacts": 1, "desilt writes": 1,
    "desilt compacts": 3, "desilt compacts fully": 2, "desilt deletes": 1,
}
BY_DESILT = {
    "desilt writes": 5, "desilt deletes": 2, "desilt compacts": 2, "desilt compacts fully": 1,
    "java writes": 1, "java compacts": 1,
}
BY_JAVA09 = {
    "java09 writes": 5, "java09 compacts": 1, "desilt writes": 1,
    "desilt compacts": 3, "desilt compacts fully": 2, "desilt deletes": 1,
}
# fmt: on


@pytest.fixture(scope="module")
def peers(java: Peer, java09: Peer, pypaimon: Peer) -> Peers:
    return {"java": java, "java09": java09, "pypaimon": pypaimon}


def weights_of(weights: dict[str, int], shape: Shape) -> dict[str, int]:
    return {k: v for k, v in weights.items() if shape.keyed or k != "desilt deletes"}


def play_of(history: History, peers: Peers, creator: str, warehouse: Path) -> Play:
    return Play(history, peers, creator, warehouse)


@pytest.mark.parametrize("seed", range(24))
def test_a_table_of_java(peers: Peers, tmp_path: Path, seed: int) -> None:
    history = History(seed, LIMITS, keyed=seed % 4 != 3)
    play = Play(history, peers, "java", tmp_path)
    play.run(8, weights_of(BY_JAVA, history.shape))
    play.check("java")
    play.check_past(DESILT, "java")
    play.run(2, {"java writes": 1})
    play.step("java compacts fully")
    play.check(DESILT, "java")


@pytest.mark.parametrize("seed", range(100, 120))
def test_a_table_of_pypaimon(peers: Peers, tmp_path: Path, seed: int) -> None:
    history = History(seed, PYPAIMON, keyed=seed % 4 != 3)
    play = Play(history, peers, "pypaimon", tmp_path)
    play.run(8, weights_of(BY_PYPAIMON, history.shape))
    play.check("pypaimon", "java")
    play.check_past(DESILT, "pypaimon", "java")


@pytest.mark.parametrize("seed", range(200, 220))
def test_a_table_of_desilt(peers: Peers, tmp_path: Path, seed: int) -> None:
    history = History(seed, EVERYBODY, keyed=seed % 4 != 3)
    play = Play(history, peers, DESILT, tmp_path)
    play.run(8, weights_of(BY_DESILT, history.shape))
    play.check("java", "java09", "pypaimon")
    play.check_past(DESILT, "java", "java09", "pypaimon")
    play.step("pypaimon writes")
    play.step("java writes")
    play.check(DESILT, "java", "java09", "pypaimon")
    play.step("java09 writes")
    play.step("java compacts fully")
    play.check(DESILT, "java", "java09")


@pytest.mark.parametrize("seed", range(300, 314))
def test_a_table_of_the_oldest_java(peers: Peers, tmp_path: Path, seed: int) -> None:
    history = History(seed, JAVA09, keyed=seed % 4 != 3)
    play = Play(history, peers, "java09", tmp_path)
    play.run(8, weights_of(BY_JAVA09, history.shape))
    play.check("java09", "java")
    play.check_past(DESILT, "java", "java09")
