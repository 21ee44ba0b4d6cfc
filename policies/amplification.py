"""Reading cost against writing cost.

- *pressure*, what readers pay: max(sorted runs ÷ trigger, small files ÷ min-file-num)
  × (1 + overlapping bytes ÷ bytes) ÷ 2;
- *score* = pressure ÷ max(1, write amplification ÷ target): what compaction has already cost
  only ever divides, so it can never feed itself;
- from the writers' stop trigger on the score is at least 1, whatever it cost: they stand still;
- what the table's own options ask for (`demand.py`) is due, whatever it cost: rows or changes are
  hidden from readers until then.

Nothing is proposed that cannot change anything: fewer than two sorted runs of a keyed bucket are
not merged (the same files again), and an append bucket needs files to pack. There the score stays
below 1, and the reason says so. A due bucket that universal compaction would leave alone under the
table's trigger is planned with a trigger one below its run count, which always picks.

Append buckets have no runs and no overlap: their pressure is half of small files ÷ min-file-num.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, ClassVar

import msgspec
import polars as pl

from .api import NOT_DUE_MAX, PICK_NUMBERS, VERDICT_SCHEMA
from .demand import demand_reason, demand_score, full_rule, up_level0_rule
from .runs import MEASURES, at_least_one, limit, measure, whole
from .universal import would_pick


class AmplificationConfig(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="kebab",
    tag="amplification",
    tag_field="kind",
):
    """YAML face of this policy."""

    target: Annotated[float, msgspec.Meta(gt=0)] = 6.0
    """Write amplification, a ratio, up to which pressure counts in full; 6 is what universal
    compaction needs with five runs."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.target):
            raise ValueError("target must be finite")


_WORK = ("pressure", "penalty", "blocked", "changeable", "full_rule", "demand")


@dataclass(frozen=True, slots=True)
class AmplificationPolicy:
    """Compact where reading suffers most for what writing has cost so far."""

    Config: ClassVar[type[AmplificationConfig]] = AmplificationConfig
    config: AmplificationConfig = field(default_factory=AmplificationConfig)

    def judge(self, facts: pl.LazyFrame, *, now: datetime) -> pl.LazyFrame:
        """Verdicts for every bucket; ``trigger`` becomes the one that picks where it is due."""
        due = pl.col("score") >= 1
        return (
            measure(facts.with_columns(limit(name) for name in PICK_NUMBERS))
            .with_columns(
                pressure=_pressure(),
                penalty=_penalty(self.config.target),
                blocked=whole("keyed", False) & (whole("sorted_runs") >= _stop_trigger()),
                changeable=_changeable(),
                full_rule=full_rule(),
            )
            .with_columns(demand=pl.coalesce("full_rule", up_level0_rule()))
            .with_columns(score=_score())
            .with_columns(
                action=pl.when(due).then(pl.lit("compact")).cast(VERDICT_SCHEMA["action"]),
                reason=_reason(self.config.target),
            )
            .with_columns(_planned_trigger(due), full=pl.col("full_rule").is_not_null())
            .select(pl.exclude(*MEASURES, *_WORK, *VERDICT_SCHEMA), *VERDICT_SCHEMA)
        )


def _pressure() -> pl.Expr:
    """Finite and >= 0."""
    runs = pl.when(whole("keyed", False)).then(whole("sorted_runs")).otherwise(0)
    bytes_ = whole("bytes")
    overlap = (
        pl.when(bytes_ > 0)
        .then((whole("overlap_bytes") / bytes_).clip(upper_bound=1.0))
        .otherwise(0.0)
    )
    pile = pl.max_horizontal(
        runs / pl.col("trigger"), whole("small_files") / at_least_one("min_file_num")
    )
    return pile * (1 + overlap) / 2


def _penalty(target: float) -> pl.Expr:
    """At least 1; 1 where the write amplification is not known."""
    known = pl.col("write_amplification").fill_nan(None).fill_null(0.0)
    # A product, not a quotient: dividing a column by one number rounds differently from row to row.
    return pl.max_horizontal(known * min(1 / target, 1e300), pl.lit(1.0))


def _stop_trigger() -> pl.Expr:
    """Runs from which writers wait; without the table's own, three above the trigger."""
    return pl.col("stop_trigger").fill_null(pl.col("trigger") + 3)


def _changeable() -> pl.Expr:
    return (
        pl.when(whole("keyed", False))
        .then(whole("sorted_runs") >= 2)
        .otherwise(whole("packable_files") > 0)
    )


def _score() -> pl.Expr:
    score = pl.col("pressure") / pl.col("penalty")
    floored = (
        pl.when(pl.col("blocked")).then(pl.max_horizontal(score, pl.lit(1.0))).otherwise(score)
    )
    return (
        pl.when(pl.col("demand").is_not_null())
        .then(pl.max_horizontal(score, demand_score(pl.col("full_rule"))))
        .when(pl.col("changeable"))
        .then(floored)
        .otherwise(pl.min_horizontal(floored, pl.lit(NOT_DUE_MAX)))
    )


def _planned_trigger(due: pl.Expr) -> pl.Expr:
    lowered = (pl.col("run_count") - 1).clip(lower_bound=1)
    needed = due & whole("keyed", False) & ~would_pick()
    return pl.when(needed).then(lowered).otherwise(pl.col("trigger")).alias("trigger")


def _reason(target: float) -> pl.Expr:
    keyed, blocked = whole("keyed", False), pl.col("blocked")
    raised = blocked & (pl.col("pressure") < pl.col("penalty"))
    nothing = (
        pl.when(keyed)
        .then(pl.lit("fewer than 2 sorted runs, nothing to merge"))
        .otherwise(pl.lit("nothing to pack"))
    )
    rule = pl.col("demand")
    head = (
        pl.when(rule.is_not_null())
        .then(pl.format("due by {}: {};", rule, demand_reason(rule)))
        .when(~pl.col("changeable"))
        .then(pl.format("not due: {};", nothing))
        .when(raised)
        .then(
            pl.format(
                "due: {} sorted runs reach the stop trigger of {};",
                whole("sorted_runs"), _stop_trigger(),
            )
        )
        .when(pl.col("score") >= 1)
        .then(pl.lit("due:"))
        .otherwise(pl.lit("not due:"))
    )  # fmt: skip
    return pl.format("{} {}, {}", head, _numbers(), _cost(target))


def _numbers() -> pl.Expr:
    piles = pl.format(
        "small files {} (min-file-num {})", whole("small_files"), at_least_one("min_file_num")
    )
    runs = pl.format("sorted runs {} (trigger {}), ", whole("sorted_runs"), pl.col("trigger"))
    return pl.format(
        "score {} from pressure {}: {}{}, overlap {} of {} bytes",
        _shown("score"), _shown("pressure"),
        pl.when(whole("keyed", False)).then(runs).otherwise(pl.lit("")),
        piles, whole("overlap_bytes"), whole("bytes"),
    )  # fmt: skip


def _cost(target: float) -> pl.Expr:
    known = pl.col("write_amplification").fill_nan(None)
    return (
        pl.when(known.is_null())
        .then(pl.lit("write amplification not known"))
        .otherwise(pl.format("write amplification {} (target {})", known.round(2), pl.lit(target)))
    )


def _shown(name: str) -> pl.Expr:
    """Three decimals; never 1.0 for what is below 1."""
    rounded = pl.col(name).round(3)
    below = pl.min_horizontal(rounded, pl.lit(0.999))
    return pl.when(pl.col(name) < 1).then(below).otherwise(rounded)
