"""The health frames of all tables as one frame, so that a tick judges them in one pass.

A table's frame is put in when something in it has changed; only the ages change by themselves, and
those of all tables are brought up to date at once. So a tick costs what has changed, not what there
is.
"""

from __future__ import annotations

import threading

import polars as pl

from ..policies.api import HEALTH_SCHEMA
from ..table.health import AGES, Health

_AT = "_at_millis"


class FleetFacts:
    """Safe to use from any thread."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._whole = pl.DataFrame(schema={**HEALTH_SCHEMA, _AT: pl.Int64()})
        self._changed: dict[str, Health | None] = {}

    def put(self, table: str, health: Health | None) -> None:
        """What is known of the table now; None: nothing."""
        with self._mutex:
            self._changed[table] = health

    def frame(self, now_millis: int) -> pl.DataFrame:
        """Every bucket of every table, HEALTH_SCHEMA, as old as it is at that moment."""
        with self._mutex:
            if self._changed:
                self._whole = _merged(self._whole, self._changed)
                self._changed = {}
            whole = self._whole
        passed = (now_millis - pl.col(_AT)) / 1000
        return whole.with_columns(pl.col(AGES) + passed).drop(_AT)


def _merged(whole: pl.DataFrame, changed: dict[str, Health | None]) -> pl.DataFrame:
    kept = whole.filter(~pl.col("table").is_in(list(changed)))
    known = {name: health for name, health in changed.items() if health is not None}
    fresh = [h.frame for h in known.values()]
    if not fresh:
        return kept.rechunk()
    # One frame first, its names afterwards: a call per table would cost more than all else.
    names = pl.Series("name", list(known))
    heights = pl.Series([frame.height for frame in fresh], dtype=pl.UInt32)
    moments = pl.Series([h.now_millis for h in known.values()], dtype=pl.Int64)
    put = pl.concat(fresh).with_columns(
        _repeated(names, heights).alias("table"), _repeated(moments, heights).alias(_AT)
    )
    return pl.concat([kept, put.select(kept.columns)], rechunk=True)


def _repeated(values: pl.Series, counts: pl.Series) -> pl.Series:
    """Each value as often as its count says."""
    frame = pl.DataFrame({"value": values, "count": counts})
    return frame.select(pl.col("value").repeat_by("count").explode()).drop_nulls()["value"]
