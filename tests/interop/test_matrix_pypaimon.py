"""The rows of the support matrix again, with pypaimon as a reader, and as the one who writes.

What it cannot do is data with reasons in `support.pypaimon_limits`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.engines import Cell
from support.matrix import ROWS
from support.peers import Peer
from support.plays import play_row
from support.pypaimon_limits import can_ever_read

READABLE = [cell for cell in ROWS if can_ever_read(cell)]


@pytest.mark.parametrize("cell", READABLE, ids=str)
def test_pypaimon_reads_what_others_compacted(
    java: Peer, pypaimon: Peer, tmp_path: Path, cell: Cell
) -> None:
    seed = 2000 + ROWS.index(cell)  # styles in turn

    play_row(cell, "pypaimon-reads", seed, {"java": java, "pypaimon": pypaimon}, tmp_path)


@pytest.mark.parametrize("cell", READABLE, ids=str)
def test_others_compact_what_pypaimon_wrote(
    java: Peer, pypaimon: Peer, tmp_path: Path, cell: Cell
) -> None:
    seed = 3000 + ROWS.index(cell)

    play_row(cell, "pypaimon-writes", seed, {"java": java, "pypaimon": pypaimon}, tmp_path)
