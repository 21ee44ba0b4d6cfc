"""The support matrix: every merge engine, changelog producer and use of vectors Java allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from .engines import ENGINES, PRODUCERS, Cell
from .peer_streams import refusals
from .peers import Peer
from .shapes import Shape

__all__ = ["ROWS", "Refusal", "allowed_rows", "combinations", "refusal"]

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


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the libraries say against a table that is no row."""

    java: str
    desilt: str


def refusal(cell: Cell) -> Refusal | None:
    """Why there is no such row, in the words of Java 2.0.0 and of desilt; None for a row."""
    if cell.engine == "first-row" and cell.producer not in ("none", "lookup"):
        return Refusal(
            "IllegalArgumentException: Only support 'none' and 'lookup' changelog-producer on "
            "FIRST_ROW merge engine",
            "first-row takes no such changelog producer, option=changelog-producer, "
            f"value={cell.producer}",
        )
    if cell.vectors and cell.producer == "full-compaction":
        return Refusal(
            "IllegalArgumentException: Deletion vectors mode is only supported for "
            "NONE/INPUT/LOOKUP changelog producer now.",
            "deletion vectors take no such changelog producer, option=changelog-producer, "
            "value=full-compaction",
        )
    if cell.vectors and cell.engine == "first-row":
        return Refusal(
            "IllegalArgumentException: First row merge engine does not need deletion vectors "
            "because there is no deletion of old data in this merge engine.",
            "first-row takes no deletion vectors, option=deletion-vectors.enabled, value=true",
        )
    return None
