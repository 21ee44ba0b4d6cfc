"""The contract between a policy and those who call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime

import polars as pl
import pytest
from support.facts import NOW, append_facts, facts_frame, keyed_facts

from desilt.policies import (
    HEALTH_SCHEMA,
    BucketFacts,
    PolicyError,
    RunFacts,
    UniversalPolicy,
    Verdict,
    check_verdicts,
    judge_with,
    lift,
)
from desilt.policies.api import __doc__ as api_doc

FACTS = facts_frame(keyed_facts("0:1 0:2"), keyed_facts("0:1 " * 9))


@dataclass(frozen=True)
class Fixed:
    """Judges with universal, then spoils the answer."""

    spoil: Callable[[pl.LazyFrame], pl.LazyFrame]

    def judge(self, facts: pl.LazyFrame, *, now: datetime) -> pl.LazyFrame:
        return self.spoil(UniversalPolicy().judge(facts, now=now))


def test_every_health_column_is_documented_in_order() -> None:
    assert api_doc is not None
    documented = [line.split("|")[1].strip() for line in api_doc.splitlines() if "|" in line]

    assert documented[2:] == list(HEALTH_SCHEMA)


def test_bucket_facts_mirror_the_health_frame() -> None:
    assert [field.name for field in fields(BucketFacts)] == list(HEALTH_SCHEMA)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -0.1])
def test_verdict_refuses_a_score_that_is_no_number(score: float) -> None:
    with pytest.raises(ValueError, match="score"):
        Verdict(None, score, "because")


def test_verdict_refuses_to_be_due_below_one_or_idle_above() -> None:
    with pytest.raises(ValueError, match="due means"):
        Verdict("compact", 0.5, "because")
    with pytest.raises(ValueError, match="due means"):
        Verdict(None, 1.0, "because")


def test_verdict_refuses_to_give_no_reason() -> None:
    with pytest.raises(ValueError, match="reason"):
        Verdict(None, 0.0, " ")


Spoil = Callable[[pl.LazyFrame], pl.LazyFrame]


def _set(**columns: pl.Expr) -> Spoil:
    return lambda frame: frame.with_columns(**columns)


def _without(column: str) -> Spoil:
    return lambda frame: frame.drop(column)


def _first(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.head(1)


def _doubled(frame: pl.LazyFrame) -> pl.LazyFrame:
    return pl.concat([frame, frame.head(1)])


def _broken(frame: pl.LazyFrame) -> pl.LazyFrame:
    raise ZeroDivisionError(frame.collect_schema().names()[0])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_set(score=pl.lit(float("nan"))), "score is no number"),
        (_set(score=pl.lit(float("inf"))), "score is no number"),
        (_set(score=pl.lit(-1.0)), "score is no number"),
        (_set(score=pl.lit(None, pl.Float64)), "score is no number"),
        (_set(score=pl.lit("high")), "wrong type"),
        (_set(score=pl.lit(0.0)), "disagree"),
        (_set(action=pl.lit(None, pl.String)), "disagree"),
        (_set(action=pl.lit("explode")), "wrong type"),
        (_set(reason=pl.lit(None, pl.String)), "without a reason"),
        (_set(reason=pl.lit(" ")), "without a reason"),
        (_set(trigger=pl.lit(None, pl.Int64)), "trigger is no number"),
        (_set(size_ratio_percent=pl.lit(-1)), "size_ratio_percent is no number"),
        (_without("reason"), "columns=reason"),
        (_without("bytes"), "columns=bytes"),
        (_first, "missing=1"),
        (_doubled, "doubled=1"),
        (_set(bucket=pl.col("bucket") + 7), "unknown=2"),
        (_set(score=pl.col("nowhere")), "policy failed, policy=Fixed"),
        (_broken, "error=ZeroDivisionError: table"),
    ],
)
def test_judge_with_refuses_what_is_no_verdict(spoil: Spoil, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        judge_with(Fixed(spoil), FACTS.lazy(), now=NOW)


def test_judge_with_accepts_another_order_and_plain_types() -> None:
    answer = judge_with(
        Fixed(lambda frame: frame.reverse().with_columns(pl.col("action").cast(pl.String))),
        FACTS.lazy(),
        now=NOW,
    )

    assert answer["bucket"].to_list() == [1, 0]
    assert answer["action"].to_list() == ["compact", None]
    assert answer.schema["action"] == pl.Enum(["compact"])


def test_check_verdicts_works_without_the_facts() -> None:
    verdicts = UniversalPolicy().judge(FACTS.lazy(), now=NOW).collect()

    assert check_verdicts(verdicts).equals(verdicts)


def test_check_verdicts_names_the_first_bucket_at_fault() -> None:
    verdicts = UniversalPolicy().judge(FACTS.lazy(), now=NOW).collect()
    spoilt = verdicts.with_columns(score=pl.when(pl.col("bucket") == 1).then(-3.0).otherwise(0.4))

    with pytest.raises(PolicyError, match=r"buckets=1, table=rec\.events, partition=, bucket=1"):
        check_verdicts(spoilt)


def test_lift_asks_bucket_by_bucket_and_fills_in_silence() -> None:
    seen: list[BucketFacts] = []

    def judge_bucket(facts: BucketFacts, *, now: datetime) -> Verdict | None:
        seen.append(facts)
        return Verdict("compact", 2.0, "many runs") if facts.sorted_runs > 5 else None

    answer = judge_with(lift(judge_bucket), FACTS.lazy(), now=NOW)

    assert answer["action"].to_list() == [None, "compact"]
    assert answer["score"].to_list() == [0.0, 2.0]
    assert answer["reason"].to_list()[1] == "many runs"
    assert answer["reason"].to_list()[0].startswith("not due:")
    assert seen[0].runs == (RunFacts(0, 1), RunFacts(0, 2))


def test_lift_names_an_invalid_verdict() -> None:
    def judge_bucket(facts: BucketFacts, *, now: datetime) -> Verdict | None:
        return Verdict(None, float("nan"), "oops")

    with pytest.raises(PolicyError, match="ValueError: a score is finite"):
        judge_with(lift(judge_bucket), facts_frame(append_facts()).lazy(), now=NOW)
