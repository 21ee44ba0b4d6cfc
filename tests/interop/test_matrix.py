"""Every row of the support matrix, played: one library writes, another one compacts, Java judges.

A row's seeds are a steady, a stepwise and a wild history in turn (`support.engine_histories`). A
failure names row and seed in the test's id and prints the table's shape and every change; run that
id again to see it again. `make soak` plays the same with fresh seeds.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from support.engines import Cell, engine_shape
from support.matrix import ROWS, allowed_rows, refusal
from support.peer_streams import refusals
from support.peers import Peer
from support.plays import Way, play_row, seeds_of


def test_the_rows_are_those_that_java_allows(java: Peer) -> None:
    for cell, said in allowed_rows(java).items():
        refused = refusal(cell)
        assert said == (refused and refused.java), cell


@pytest.mark.parametrize("cell", ROWS, ids=str)
def test_java_allows_every_table_that_is_drawn(java: Peer, cell: Cell) -> None:
    shapes = [engine_shape(random.Random(seed), cell) for seed in range(40)]

    assert [text for text in refusals(java, shapes) if text is not None] == []


def histories(way: Way) -> pytest.MarkDecorator:
    """All rows, each with every seed."""
    played = [(cell, seed) for cell in ROWS for seed in seeds_of(cell, way)]
    return pytest.mark.parametrize(
        ("cell", "seed"), played, ids=[f"{cell}-{seed}" for cell, seed in played]
    )


@histories("java-writes")
def test_java_writes_and_desilt_compacts(java: Peer, tmp_path: Path, cell: Cell, seed: int) -> None:
    play_row(cell, "java-writes", seed, {"java": java}, tmp_path, expires=seed == 3)


@histories("desilt-writes")
def test_desilt_writes_and_java_compacts(java: Peer, tmp_path: Path, cell: Cell, seed: int) -> None:
    play_row(cell, "desilt-writes", seed, {"java": java}, tmp_path)
