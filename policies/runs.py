"""Facts as the built-in policies reckon with them: never null, measured from the runs."""

from __future__ import annotations

import polars as pl

# Paimon's defaults, for a frame that lacks the table's own value.
_DEFAULTS = {"trigger": 5, "size_amplification_percent": 200, "size_ratio_percent": 1}


# As an Enum: choosing among texts row by row costs a hundred times as much.
RULES = pl.Enum(
    [
        *("full-commits", "full-interval", "full-below", "full-above"),
        *("size-amplification", "size-ratio", "file-number", "up-level-0", "packing"),
    ]
)
"""Names of all rules by which something can be due."""

MEASURES = (
    *("run_count", "newest_bytes", "next_bytes", "last_bytes", "above_bytes"),
    *("run_bytes", "newest_level", "above_top_bytes", "wanted_commits"),
)
"""What `measure` adds; ``wanted_commits`` is ``full_commits`` until a policy knows better."""


def measure(facts: pl.LazyFrame) -> pl.LazyFrame:
    """The facts with `MEASURES` of their runs; bytes are Int128, so that no sum overflows."""
    size = pl.element().struct.field("bytes").cast(pl.Int128).fill_null(0).clip(lower_bound=0)
    runs = pl.col("runs")
    return (
        facts.with_columns(
            run_count=runs.list.len().cast(pl.Int64).fill_null(0), sizes=runs.list.eval(size)
        )
        .with_columns(
            newest_bytes=pl.col("sizes").list.get(0, null_on_oob=True).fill_null(0),
            next_bytes=pl.col("sizes").list.get(1, null_on_oob=True).fill_null(0),
            last_bytes=pl.col("sizes").list.last().fill_null(0),
            run_bytes=pl.col("sizes").list.sum().fill_null(0),
            newest_level=runs.list.first().struct.field("level"),
            wanted_commits=pl.col("full_commits"),
        )
        .with_columns(
            above_bytes=pl.col("run_bytes") - pl.col("last_bytes"),
            above_top_bytes=pl.col("run_bytes")
            - pl.when(runs.list.last().struct.field("level") >= pl.col("max_level"))
            .then(pl.col("last_bytes"))
            .otherwise(0),
        )
        .drop("sizes")
    )


def limit(name: str) -> pl.Expr:
    """One of `PICK_NUMBERS`, never null; a trigger is at least 1, a percent at least 0."""
    lowest = 1 if name == "trigger" else 0
    return pl.col(name).fill_null(_DEFAULTS[name]).clip(lower_bound=lowest).alias(name)


def whole(name: str, nothing: int | bool = 0) -> pl.Expr:
    """A fact that is never null; negative counts count as nothing."""
    column = pl.col(name).fill_null(nothing)
    return column if isinstance(nothing, bool) else column.clip(lower_bound=0)


def at_least_one(name: str) -> pl.Expr:
    """A divisor: a count of at least 1."""
    return pl.col(name).fill_null(1).clip(lower_bound=1)


def rule(name: str) -> pl.Expr:
    """One of `RULES`, as a value."""
    return pl.lit(name, RULES)
