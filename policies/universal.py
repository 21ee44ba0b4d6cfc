"""Due exactly when Paimon's universal compaction would pick something.

The pick walks over the runs; whether it picks at all needs no walk. With n runs, newest first, of
sizes s0 … sn-1 and trigger T:

- *size-amplification*: n ≥ T and 100 · (s0 + … + sn-2) > A · sn-1;
- *size-ratio*: n ≥ T and s0 · (100 + R) ≥ 100 · s1: growth that begins with one run picks two or
  more runs exactly when it takes the second (before that nothing is triggered, so the rule of
  HEAD, which swallows low levels once triggered, does not apply);
- *file-number*: n > T: growth that begins with n − T + 1 ≥ 2 runs always picks.

Before these come the rules by which a table wants its buckets merged whole, after them the one by
which it wants level 0 empty (`demand.py`); what is to be merged whole is planned so. The first rule
in this order names the reason. Every pick has two or more runs, or lifts level 0, so Paimon's
filter of single files that already sit at the output level never applies.

Score of a keyed bucket: n ÷ T where due (n ≥ T then), or what the demand says if that is more; else
n ÷ T, and half a run less where n reaches T without a pick: below 1 exactly where nothing is due,
never falling with n. Append tables: files to pack ÷ min-file-num, at least 1, where something is to
be packed; else small files ÷ min-file-num, below 1.

Spec: maintenance §2.1, §7; reference class ``mergetree/compact/UniversalCompaction``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, ClassVar

import msgspec
import polars as pl

from .api import NOT_DUE_MAX, PICK_NUMBERS, VERDICT_SCHEMA
from .demand import DEMANDS, demand_reason, demand_score, full_rule, up_level0_rule
from .runs import MEASURES, at_least_one, limit, measure, rule, whole


class UniversalConfig(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename="kebab",
    tag="universal",
    tag_field="kind",
):
    """YAML face of this policy; what is not given is the table's own option."""

    trigger: Annotated[int, msgspec.Meta(ge=2, le=10_000)] | None = None
    """Sorted runs from which a pick is tried; none: num-sorted-run.compaction-trigger."""

    size_ratio: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    """Percent by which the next run may be larger; none: compaction.size-ratio."""

    max_size_amplification_percent: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    """Percent of the last run above it; none: compaction.max-size-amplification-percent."""

    full_commits: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    """Commits of the table after which a bucket that they wrote to is merged whole; none:
    full-compaction.delta-commits, which is 1 where the changelog producer is full-compaction."""


@dataclass(frozen=True, slots=True)
class UniversalPolicy:
    """Paimon's own rules, with the table's own options unless the YAML says otherwise."""

    Config: ClassVar[type[UniversalConfig]] = UniversalConfig
    config: UniversalConfig = field(default_factory=UniversalConfig)

    def judge(self, facts: pl.LazyFrame, *, now: datetime) -> pl.LazyFrame:
        """Verdicts for every bucket; the pick columns become the numbers judged with."""
        measured = measure(facts.with_columns(self._limits())).with_columns(self._full_commits())
        keyed = whole("keyed", False)
        picks = pl.coalesce("full_rule", size_rule(), up_level0_rule())
        return (
            measured.with_columns(full_rule=full_rule())
            .with_columns(rule=pl.when(keyed).then(picks).when(_packable()).then(rule("packing")))
            .with_columns(
                full=pl.col("full_rule").is_not_null(),
                action=pl.when(pl.col("rule").is_not_null()).then(pl.lit("compact")),
                score=pl.when(keyed).then(_keyed_score()).otherwise(_append_score()),
                reason=pl.when(keyed).then(_keyed_reason()).otherwise(append_reason()),
            )
            .with_columns(pl.col("action").cast(VERDICT_SCHEMA["action"]))
            .drop(*MEASURES, "rule", "full_rule")
        )

    def _limits(self) -> list[pl.Expr]:
        """The numbers to judge and to plan with: the YAML's, else the table's, else Paimon's."""
        overrides = {
            "trigger": self.config.trigger,
            "size_amplification_percent": self.config.max_size_amplification_percent,
            "size_ratio_percent": self.config.size_ratio,
        }
        return [
            limit(name)
            if overrides[name] is None
            else pl.lit(overrides[name], pl.Int64).alias(name)
            for name in PICK_NUMBERS
        ]

    def _full_commits(self) -> list[pl.Expr]:
        """The same for merging whole."""
        wanted = self.config.full_commits
        return [] if wanted is None else [pl.lit(wanted, pl.Int64).alias("wanted_commits")]


def would_pick() -> pl.Expr:
    """True where universal compaction picks something from measured runs (see `measure`)."""
    return pl.coalesce(size_rule(), up_level0_rule()).is_not_null()


def size_rule() -> pl.Expr:
    """Name of the first rule of number and size that picks, null where none does."""
    count, trigger = pl.col("run_count"), pl.col("trigger")
    amplification = pl.col("size_amplification_percent").cast(pl.Int128)
    ratio = pl.col("size_ratio_percent").cast(pl.Int128)
    reached = count >= trigger
    too_much_above = pl.col("above_bytes") * 100 > pl.col("last_bytes") * amplification
    takes_second = pl.col("newest_bytes") * (ratio + 100) >= pl.col("next_bytes") * 100
    return (
        pl.when(reached & too_much_above)
        .then(rule("size-amplification"))
        .when(reached & (count >= 2) & takes_second)
        .then(rule("size-ratio"))
        .when(count > trigger)
        .then(rule("file-number"))
    )


def _packable() -> pl.Expr:
    return ~whole("keyed", False) & (whole("packable_files") > 0)


def _keyed_score() -> pl.Expr:
    count, trigger = pl.col("run_count"), pl.col("trigger")
    short_of = pl.when(count >= trigger).then(trigger - 0.5).otherwise(count)
    return (
        pl.when(pl.col("rule").is_not_null())
        .then(pl.max_horizontal(count / trigger, demand_score(pl.col("full_rule")), pl.lit(1.0)))
        .otherwise(pl.min_horizontal(short_of / trigger, pl.lit(NOT_DUE_MAX)))
    )


def _append_score() -> pl.Expr:
    least = at_least_one("min_file_num")
    return (
        pl.when(_packable())
        .then(pl.max_horizontal(whole("packable_files") / least, pl.lit(1.0)))
        .otherwise(pl.min_horizontal(whole("small_files") / least, pl.lit(NOT_DUE_MAX)))
    )


def _keyed_reason() -> pl.Expr:
    count, trigger, by = pl.col("run_count"), pl.col("trigger"), pl.col("rule")
    percent = pl.col("size_amplification_percent")
    above = pl.format("{} bytes above the last run of {} bytes", "above_bytes", "last_bytes")
    newest = pl.format("the newest run of {} bytes plus {} %", "newest_bytes", "size_ratio_percent")
    second = pl.format("the next of {} bytes", "next_bytes")
    reached = pl.format("{} runs (trigger {})", count, trigger)
    return (
        pl.when(by == "size-amplification")
        .then(_due("{}, {} are more than {} %", reached, above, percent))
        .when(by == "size-ratio")
        .then(_due("{}, {} cover {}", reached, newest, second))
        .when(by == "file-number")
        .then(_due("{} runs, more than the trigger of {}", count, trigger))
        .when(by.is_in(DEMANDS))
        .then(_due("{}", demand_reason(by)))
        .when(count < trigger)
        .then(pl.format("not due: {} of the {} runs that trigger a pick", count, trigger))
        .when(count < 2)
        .then(pl.format("not due: nothing to merge, runs {} (trigger {})", count, trigger))
        .otherwise(
            pl.format(
                "not due: {}, {} are within {} %, {} do not cover {}",
                reached, above, percent, newest, second,
            )
        )
    )  # fmt: skip


def _due(text: str, *values: pl.Expr) -> pl.Expr:
    return pl.format("due by {}: " + text, pl.col("rule"), *values)


def append_reason() -> pl.Expr:
    """Why an append bucket is to be packed, or not."""
    packable, least = whole("packable_files"), at_least_one("min_file_num")
    small = pl.format("{} small files (min-file-num {})", whole("small_files"), least)
    gone, rows = whole("vector_rows"), whole("rows")
    deleted = (
        pl.when(gone > 0)
        .then(pl.format(", {} of {} rows deleted", gone, rows))
        .otherwise(pl.lit(""))
    )
    return (
        pl.when(packable > 0)
        .then(
            pl.format(
                "due by packing: {} files of {} bytes to pack, {}{}",
                packable, whole("packable_bytes"), small, deleted,
            )
        )
        .otherwise(pl.format("not due: nothing to pack, {}{}", small, deleted))
    )  # fmt: skip
