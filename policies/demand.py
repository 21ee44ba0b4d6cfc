"""What a table's own options ask of compaction, whatever its buckets cost to read; pure.

Two kinds of demands, each by the first of its rules that holds:

- *merge the bucket whole*, as long as something lies above its highest level:
  *full-commits*, so many commits after the last time (a changelog that is told by full
  compactions has no other pace); *full-interval*, so long after the last time; *full-below*,
  while the bucket is small; *full-above*, when too much lies above the highest level;
- *up-level-0*: level 0 is to be left at once, since it is hidden from readers, or since followers
  wait for what it changes.

What waits for a demand counts like runs beyond the trigger: one for every level-0 file that is to
go up, one for every commit from the one on that was to be the last.

Spec: maintenance §2.2, §2.4, §5.1.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from .runs import at_least_one, rule, whole

UP_LEVEL0 = "up-level-0"
_SAID = {
    "full-commits": " commits since all was one run, which is wanted after ",
    "full-interval": " s since all was one run, which is wanted after ",
    "full-below": " bytes in all, which are wanted in one run below ",
    "full-above": " bytes above the highest level, which are wanted below it from more than ",
    UP_LEVEL0: " level-0 files are to leave level 0",
}
"""By rule, what is said between its number and its limit."""

DEMANDS = tuple(_SAID)
FULL_RULES = DEMANDS[:-1]


def full_rule() -> pl.Expr:
    """Name of the rule by which the bucket is to be merged whole, null where none does."""
    keyed = whole("keyed", False) & (pl.col("newest_level") < pl.col("max_level"))
    overdue = pl.col("full_age_seconds").fill_nan(None).fill_null(float("inf"))
    holds = [
        whole("commits_since_full") >= pl.col("wanted_commits"),
        overdue > pl.col("full_interval_seconds").fill_nan(None),
        pl.col("run_bytes") < pl.col("full_below_bytes"),
        pl.col("above_top_bytes") > pl.col("full_above_bytes"),
    ]
    return pl.coalesce(
        pl.when(keyed & due).then(rule(name)) for name, due in zip(FULL_RULES, holds, strict=True)
    )


def up_level0_rule() -> pl.Expr:
    """`UP_LEVEL0` where level 0 is to be left, else null."""
    level0 = pl.col("newest_level") == 0
    wanted = whole("keyed", False) & whole("up_level0", False) & level0
    return pl.when(wanted).then(rule(UP_LEVEL0))


def demand_score(full: pl.Expr) -> pl.Expr:
    """At least 1 where something is asked for, else 0: comparable with runs over their trigger.

    Args:
        full: what `full_rule` says.
    """
    late = whole("commits_since_full").cast(pl.Float64) - whole("wanted_commits") + 1
    commits = pl.when(full == "full-commits").then(late.clip(0)).otherwise(0)
    files = pl.when(up_level0_rule().is_not_null()).then(whole("level0_files")).otherwise(0)
    waits = pl.max_horizontal(commits, files) / at_least_one("trigger")
    asked = full.is_not_null() | up_level0_rule().is_not_null()
    return pl.when(asked).then(1 + waits).otherwise(0.0)


def demand_reason(by: pl.Expr) -> pl.Expr:
    """The numbers behind the rule ``by``, where it is one of `DEMANDS`."""
    number = _by(
        by,
        {
            "full-commits": whole("commits_since_full"),
            "full-interval": _seconds("full_age_seconds"),
            "full-below": pl.col("run_bytes"),
            "full-above": pl.col("above_top_bytes"),
            UP_LEVEL0: whole("level0_files"),
        },
    )
    limit = _by(
        by,
        {
            "full-commits": whole("wanted_commits"),
            "full-interval": _seconds("full_interval_seconds"),
            "full-below": whole("full_below_bytes"),
            "full-above": whole("full_above_bytes"),
        },
    )
    said = by.replace_strict(_SAID, default="", return_dtype=pl.String)
    shown = number.cast(pl.String).fill_null("unknown many"), limit.cast(pl.String).fill_null("")
    return pl.concat_str(shown[0], said, shown[1])


def _by(by: pl.Expr, values: Mapping[str, pl.Expr]) -> pl.Expr:
    """The value that belongs to the rule; null where none does."""
    return pl.coalesce(
        pl.when(by == name).then(value.cast(pl.Int128)) for name, value in values.items()
    )


def _seconds(name: str) -> pl.Expr:
    """Whole seconds, null where they are not known."""
    column = pl.col(name).fill_nan(None)
    return pl.when(column.is_finite()).then(column.clip(0, 1e15).round()).cast(pl.Int64)
