"""Every row of the support matrix, played: one library writes, another one compacts, Java judges.

Seeds 0, 1, 2 of a row are a steady, a stepwise and a wild history (`support.engine_histories`),
and so on in turn. A failure names row and seed in the test's id and prints the table's shape and
every change; run that id again to see it again.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from support.engine_histories import STYLES, EngineHistory
from support.engine_play import EnginePlay
from support.engines import Cell, engine_shape
from support.matrix import READY, ROWS, allowed_rows
from support.peer_streams import refusals
from support.peers import Peer
from support.players import Desilt, OfPeer, Player

DESILTS_ROWS = [cell for cell, ready in READY.items() if ready]
ROUNDS = 3


def seeds(first: int, count: int) -> range:
    """DESILT_HISTORIES=10 plays ten times as many."""
    return range(first, first + count * int(os.environ.get("DESILT_HISTORIES", "1")))


def history(seed: int, cell: Cell) -> EngineHistory:
    return EngineHistory(seed, cell, STYLES[seed % len(STYLES)])


def test_the_rows_are_those_that_java_allows(java: Peer) -> None:
    allowed = {cell for cell, refusal in allowed_rows(java).items() if refusal is None}

    assert allowed == set(ROWS)


@pytest.mark.parametrize("cell", ROWS, ids=str)
def test_java_allows_every_table_that_is_drawn(java: Peer, cell: Cell) -> None:
    shapes = [engine_shape(random.Random(seed), cell) for seed in range(40)]

    assert [text for text in refusals(java, shapes) if text is not None] == []


@pytest.mark.parametrize("seed", seeds(0, 3))
@pytest.mark.parametrize("cell", ROWS, ids=str)
def test_java_writes_and_another_compacts(
    java: Peer, java_too: Peer, tmp_path: Path, cell: Cell, seed: int
) -> None:
    desilt = Desilt()
    compactor: Player = desilt if READY[cell] else OfPeer(java_too)
    readers = [desilt] if READY[cell] else []
    play = EnginePlay(history(seed, cell), java, tmp_path, compactor=compactor, readers=readers)

    play.run(ROUNDS)


@pytest.mark.parametrize("seed", seeds(1000, 1))
@pytest.mark.parametrize("cell", DESILTS_ROWS, ids=str)
def test_desilt_writes_and_java_compacts(java: Peer, tmp_path: Path, cell: Cell, seed: int) -> None:
    desilt = Desilt()
    turn = seed + ROWS.index(cell)  # styles in turn
    play = EnginePlay(history(turn, cell), java, tmp_path, writer=desilt, readers=[desilt])

    play.run(ROUNDS)
