"""The support matrix: every merge engine, changelog producer and use of vectors Java allows."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from .engines import ENGINES, PRODUCERS, Cell
from .peer_streams import refusals
from .peers import Peer
from .shapes import Shape

__all__ = ["READY", "ROWS", "allowed_rows"]


def _rows(engine: str, **vectors_by_producer: tuple[bool, ...]) -> dict[Cell, bool]:
    return {
        Cell(engine, producer.replace("_", "-"), vectors): True
        for producer, both in vectors_by_producer.items()
        for vectors in both
    }


_BOTH = (False, True)
_PLAIN = (False,)

READY: dict[Cell, bool] = {
    **_rows("deduplicate", none=_BOTH, input=_BOTH, lookup=_BOTH, full_compaction=_PLAIN),
    **_rows("partial-update", none=_BOTH, input=_BOTH, lookup=_BOTH, full_compaction=_PLAIN),
    **_rows("aggregation", none=_BOTH, input=_BOTH, lookup=_BOTH, full_compaction=_PLAIN),
    **_rows("first-row", none=_PLAIN, lookup=_PLAIN),
    # Whoever teaches desilt a row says so here; the rows that are not yet played by desilt are
    # played by a second Java process.
    Cell("deduplicate", "none", vectors=False): True,
}
"""Which rows desilt takes part in: it compacts what Java wrote, and writes what Java compacts."""

ROWS = tuple(READY)


def allowed_rows(java: Peer) -> Mapping[Cell, str | None]:
    """All combinations, each with what Java's validation says against it; None for a row."""
    cells = [Cell(*parts) for parts in product(ENGINES, PRODUCERS, (False, True))]
    columns = {"k": "INT NOT NULL", "v": "BIGINT"}
    shapes = [Shape(columns, ("k",), (), {"bucket": "1", **cell.options}) for cell in cells]
    return dict(zip(cells, refusals(java, shapes), strict=True))
