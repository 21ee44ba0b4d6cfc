"""The rows of the support matrix again, with pypaimon as a reader, and as the one who writes.

What it cannot do is data with reasons in `support.pypaimon_limits`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.engine_histories import STYLES, Allowance, EngineHistory
from support.engine_play import EnginePlay
from support.engines import Cell
from support.matrix import READY, ROWS
from support.peers import Peer
from support.players import Desilt, OfPeer, Player
from support.pypaimon_limits import can_ever_read, takes_retracts, why_pypaimon_cannot_read

READABLE = [cell for cell in ROWS if can_ever_read(cell)]
ROUNDS = 2


def history(seed: int, cell: Cell, *, inserts: bool) -> EngineHistory:
    allowance = Allowance(
        accept=lambda shape: why_pypaimon_cannot_read(cell, shape) is None,
        inserts=inserts,
        retracts=takes_retracts(cell),
        tame=True,  # pypaimon merges lone records, too
    )
    return EngineHistory(seed, cell, STYLES[seed % len(STYLES)], allowance)


def play(
    cell: Cell, seed: int, peers: tuple[Peer, Peer], home: Path, *, writes: bool
) -> EnginePlay:
    java, pypaimon = peers
    third: Player = OfPeer(pypaimon)
    desilt: list[Player] = [Desilt()] if READY[cell] else []
    return EnginePlay(
        history(seed, cell, inserts=writes),
        java,
        home,
        writer=third if writes else None,
        compactor=desilt[0] if desilt else None,
        readers=[third, *desilt],
    )


@pytest.mark.parametrize("cell", READABLE, ids=str)
def test_pypaimon_reads_what_others_compacted(
    java: Peer, pypaimon: Peer, tmp_path: Path, cell: Cell
) -> None:
    seed = 2000 + ROWS.index(cell)  # styles in turn

    play(cell, seed, (java, pypaimon), tmp_path, writes=False).run(ROUNDS)


@pytest.mark.parametrize("cell", READABLE, ids=str)
def test_others_compact_what_pypaimon_wrote(
    java: Peer, pypaimon: Peer, tmp_path: Path, cell: Cell
) -> None:
    seed = 3000 + ROWS.index(cell)

    play(cell, seed, (java, pypaimon), tmp_path, writes=True).run(ROUNDS)
