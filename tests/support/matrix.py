"""The support matrix: every merge engine, changelog producer and use of vectors Java allows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from .engines import ENGINES, PRODUCERS, Cell
from .peer_streams import refusals
from .peers import Peer
from .shapes import Shape

__all__ = ["ROWS", "allowed_rows", "combinations"]

_BOTH = (False, True)
_PLAIN = (False,)
_MERGING: Mapping[str, tuple[bool, ...]] = {
    "none": _BOTH,
    "input": _BOTH,
    "lookup": _BOTH,
    "full-compaction": _PLAIN,
}
_VECTORS: Mapping[str, Mapping[str, tuple[bool, ...]]] = {
    "deduplicate": _MERGING,
    "partial-update": _MERGING,
    "aggregation": _MERGING,
    "first-row": {"none": _PLAIN, "lookup": _PLAIN},
}

ROWS = tuple(
    Cell(engine, producer, vectors)
    for engine, producers in _VECTORS.items()
    for producer, both in producers.items()
    for vectors in both
)
"""What Java allows; desilt reads, writes and compacts all of it."""


def combinations() -> list[Cell]:
    """All there are, those that Java refuses too."""
    return [Cell(*parts) for parts in product(ENGINES, PRODUCERS, _BOTH)]


def allowed_rows(java: Peer) -> Mapping[Cell, str | None]:
    """All combinations, each with what Java's validation says against it; None for a row."""
    cells = combinations()
    columns = {"k": "INT NOT NULL", "v": "BIGINT"}
    shapes = [Shape(columns, ("k",), (), {"bucket": "1", **cell.options}) for cell in cells]
    return dict(zip(cells, refusals(java, shapes), strict=True))
