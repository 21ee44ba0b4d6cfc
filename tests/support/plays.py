"""What the libraries play with each other, by name: the matrix in every direction, append tables.

A play is named ``<row>/<way>``, such as ``aggregation-lookup/desilt-writes``; with a seed it is
always the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from .append_histories import AppendHistory
from .engine_histories import STYLES, Allowance, EngineHistory
from .engine_play import EnginePlay
from .engines import Cell
from .matrix import ROWS
from .peers import Peer
from .players import Desilt, OfPeer
from .pypaimon_limits import can_ever_read, takes_retracts, why_pypaimon_cannot_read
from .seeds import seeds

__all__ = [
    "PLAYS",
    "ROUNDS",
    "Peers",
    "Way",
    "play_append",
    "play_row",
    "seeds_of",
    "ways_of",
]

Peers = Mapping[str, Peer]
"""``java``, and ``pypaimon`` where it takes part."""

Way = Literal["java-writes", "desilt-writes", "pypaimon-reads", "pypaimon-writes"]
"""Who takes part: Java writes and desilt compacts; the reverse; the first with pypaimon reading
along; pypaimon writes, desilt compacts and both read."""

ROUNDS, ROUNDS_OF_PYPAIMON = 3, 2

_SEEDS: Mapping[Way, tuple[int, int]] = {"java-writes": (0, 4), "desilt-writes": (1000, 3)}
"""The first seed, and how many."""
_MORE: Mapping[tuple[str, Way], int] = {
    ("aggregation-none", "desilt-writes"): 1003,
    ("aggregation-none-vectors", "desilt-writes"): 1015,
    ("aggregation-input", "desilt-writes"): 1012,
    ("aggregation-input-vectors", "java-writes"): 4,
    ("aggregation-input-vectors", "desilt-writes"): 1019,
    ("aggregation-lookup", "java-writes"): 5,
    ("aggregation-lookup", "desilt-writes"): 1003,
    ("aggregation-lookup-vectors", "desilt-writes"): 1004,
    ("first-row-none", "desilt-writes"): 1003,
    ("first-row-lookup", "java-writes"): 23,
}
"""One more where the others lack something of what `support.drawn` demands."""


def seeds_of(cell: Cell, way: Way) -> list[int]:
    """Seeds by which a row is played this way in `make test`."""
    found = {*seeds(*_SEEDS[way])}
    more = _MORE.get((str(cell), way))
    return sorted(found if more is None else {*found, more})


def ways_of(cell: Cell) -> tuple[Way, ...]:
    """The ways in which a row can be played."""
    ways: tuple[Way, ...] = get_args(Way)
    return tuple(w for w in ways if can_ever_read(cell) or not w.startswith("pypaimon"))


def play_row(
    cell: Cell, way: Way, seed: int, peers: Peers, home: Path, *, expires: bool = False
) -> None:
    """Plays one history; a steady, a stepwise and a wild one by seed in turn.

    Fails with the table's shape and all changes in the text. With ``expires``, desilt drops old
    snapshots at the end, and the game goes on.
    """
    play = _row_play(cell, way, seed, peers, home)
    play.run(ROUNDS_OF_PYPAIMON if way.startswith("pypaimon") else ROUNDS)
    if expires:
        play.expire()
        play.java_goes_on()


def _row_play(cell: Cell, way: Way, seed: int, peers: Peers, home: Path) -> EnginePlay:
    java, desilt = peers["java"], Desilt()
    style = STYLES[seed % len(STYLES)]
    if way == "java-writes":
        history = EngineHistory(seed, cell, style)
        return EnginePlay(history, java, home, compactor=desilt, readers=[desilt])
    if way == "desilt-writes":
        history = EngineHistory(seed, cell, style)
        return EnginePlay(history, java, home, writer=desilt, readers=[desilt])
    writes = way == "pypaimon-writes"
    allowance = Allowance(
        accept=lambda shape: why_pypaimon_cannot_read(cell, shape) is None,
        inserts=writes,
        retracts=takes_retracts(cell),
        tame=True,  # pypaimon merges lone records, too
    )
    third = OfPeer(peers["pypaimon"])
    return EnginePlay(
        EngineHistory(seed, cell, style, allowance),
        java,
        home,
        writer=third if writes else None,
        compactor=desilt,
        readers=[third, desilt],
    )


def play_append(seed: int, peers: Peers, home: Path, *, expires: bool = False) -> None:
    """Plays one history of an append table that desilt and Java write, delete from and pack.

    pypaimon reads along.
    """
    AppendHistory(seed, peers, home, expires=expires).run()


def _lasting(cell: Cell, way: Way, seed: int, peers: Peers, home: Path) -> None:
    play_row(cell, way, seed, peers, home, expires=seed % 2 == 0)


PLAYS: Mapping[str, Callable[[int, Peers, Path], None]] = {
    **{f"{cell}/{way}": partial(_lasting, cell, way) for cell in ROWS for way in ways_of(cell)},
    "append/both-write": partial(play_append, expires=True),
}
"""All plays by name, each to be called with seed, peers and an empty folder."""
