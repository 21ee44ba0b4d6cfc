"""What holds for every bucket: universal against a naive pick, promises on scores, budgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.facts import NOW, append_facts, facts_frame, keyed_facts, verdict_of, verdicts_of

from desilt.policies import (
    HEALTH_SCHEMA,
    AmplificationConfig,
    AmplificationPolicy,
    BucketKey,
    Budget,
    PickLimits,
    Policy,
    Proposal,
    Standing,
    UniversalPolicy,
    judge_with,
    plan_admission,
)
from desilt.table.lsm.pick import PickOptions, RunSize, pick_full, pick_universal

Runs = list[tuple[int, int]]
POLICIES: list[Policy] = [UniversalPolicy(), AmplificationPolicy()]
quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Sizes of one order and of many, so that every rule is at its edge now and then.
# Sixteen runs of the largest size still sum to what 64 bits hold, as a bucket's bytes must.
sizes = st.one_of(st.integers(0, 12), st.integers(0, 2000), st.integers(0, 2**58))


@st.composite
def run_lists(draw: st.DrawFn) -> Runs:
    """Runs newest first: some of level 0, then some of the levels 1 to 6, each at most once."""
    level0 = draw(st.integers(0, 9))
    upper = sorted(draw(st.sets(st.integers(1, 6))))
    return [(level, draw(sizes)) for level in [0] * level0 + upper]


@st.composite
def keyed_rows(draw: st.DrawFn) -> dict[str, Any]:
    """Any keyed bucket that a table may have."""
    runs = draw(run_lists())
    size = min(sum(s for _, s in runs), 2**62)
    trigger = draw(st.integers(2, 7))
    return keyed_facts(
        runs,
        bytes=size,
        overlap_bytes=draw(st.integers(0, size)),
        small_files=draw(st.integers(0, 40)),
        trigger=trigger,
        stop_trigger=trigger + draw(st.integers(0, 4)),
        size_amplification_percent=draw(st.sampled_from([0, 20, 100, 200, 1000])),
        size_ratio_percent=draw(st.sampled_from([0, 1, 50, 300])),
        write_amplification=draw(st.none() | st.floats(1, 100)),
    )


@st.composite
def demanding_rows(draw: st.DrawFn) -> dict[str, Any]:
    """Any keyed bucket of a table that asks for something by its own options."""
    age = st.none() | st.floats(0, 100)
    return {
        **draw(keyed_rows()),
        "up_level0": draw(st.booleans()),
        "max_level": 6,
        "commits_since_full": draw(st.integers(0, 9)),
        "full_age_seconds": draw(age),
        "full_commits": draw(st.none() | st.integers(1, 9)),
        "full_interval_seconds": draw(age),
        "full_below_bytes": draw(st.none() | sizes),
        "full_above_bytes": draw(st.none() | sizes),
    }


@st.composite
def append_rows(draw: st.DrawFn) -> dict[str, Any]:
    """Any append bucket."""
    return append_facts(
        small_files=draw(st.integers(0, 40)),
        packable_files=draw(st.integers(0, 40)),
        bytes=draw(st.integers(0, 10)),
        write_amplification=draw(st.none() | st.floats(1, 100)),
    )


rows = st.lists(st.one_of(keyed_rows(), demanding_rows(), append_rows()), max_size=12)


def naive_pick(runs: Runs, trigger: int, amplification: int, ratio: int) -> int:
    """Length of the prefix that §2.1 picks, 0 for nothing: the table's checks, step by step."""
    n = len(runs)
    if n >= trigger and 100 * sum(s for _, s in runs[:-1]) > amplification * runs[-1][1]:
        return n
    if n >= trigger and (count := naive_grow(runs, 1, ratio)) >= 2:
        return count
    if n > trigger:
        return naive_grow(runs, n - trigger + 1, ratio)
    return 0


def naive_grow(runs: Runs, start: int, ratio: int) -> int:
    """How far a prefix of ``start`` runs grows under HEAD's rule; 0 when never triggered."""
    count, triggered = start, start > 1
    for level, size in runs[start:]:
        fits = sum(s for _, s in runs[:count]) * (100 + ratio) >= size * 100
        if not fits and (not triggered or level > 1):
            break
        count, triggered = count + 1, True
    return count if triggered else 0


@quick
@given(st.lists(keyed_rows(), min_size=1, max_size=12))
def test_universal_is_due_exactly_when_the_naive_pick_picks(facts: list[dict[str, Any]]) -> None:
    for row, verdict in zip(facts, verdicts_of(UniversalPolicy(), *facts), strict=True):
        picked = naive_pick(
            [(run["level"], run["bytes"]) for run in row["runs"]],
            row["trigger"],
            row["size_amplification_percent"],
            row["size_ratio_percent"],
        )

        assert (verdict["action"] == "compact") == (picked >= 2), row
        assert (verdict["score"] >= 1) == (picked >= 2), row


@quick
@given(keyed_rows(), sizes)
def test_universal_never_scores_less_for_one_more_run(row: dict[str, Any], newest: int) -> None:
    runs = [(run["level"], run["bytes"]) for run in row["runs"]]
    options = {name: row[name] for name in ("trigger", "size_ratio_percent")}
    before, after = verdicts_of(
        UniversalPolicy(),
        keyed_facts(runs, **options),
        keyed_facts([(0, newest), *runs], **options),
    )

    assert before["score"] <= after["score"]


@quick
@given(rows)
def test_what_is_due_can_be_planned_with_the_numbers_of_the_verdict(
    facts: list[dict[str, Any]],
) -> None:
    """No verdict sends a task to a bucket where the pick then finds nothing to do."""
    for policy in POLICIES:
        for verdict in verdicts_of(policy, *facts):
            if verdict["action"] is None:
                continue
            if verdict["keyed"]:
                assert pick(verdict) is not None, verdict
            else:
                assert verdict["packable_files"] > 0


def pick(verdict: dict[str, Any]) -> object:
    choose = pick_full if verdict["full"] else pick_universal
    return choose(
        [RunSize(run["level"], run["bytes"]) for run in verdict["runs"]],
        PickOptions(
            trigger=verdict["trigger"],
            size_amplification_percent=verdict["size_amplification_percent"],
            size_ratio_percent=verdict["size_ratio_percent"],
            max_level=6,
            up_level0=verdict["up_level0"],
        ),
    )


@quick
@given(demanding_rows())
def test_what_waits_for_readers_or_a_changelog_is_due_whatever_it_costs(
    row: dict[str, Any],
) -> None:
    hidden = row["up_level0"] and row["level0_files"] > 0
    untold = row["full_commits"] is not None and row["commits_since_full"] >= row["full_commits"]
    above = bool(row["runs"]) and row["runs"][0]["level"] < 6
    for policy in POLICIES:
        verdict = verdict_of(policy, row)

        if hidden or (untold and above):
            assert verdict["action"] == "compact"
        if untold and above:
            assert verdict["full"]


@quick
@given(
    st.one_of(keyed_rows(), append_rows()),
    st.lists(st.floats(0, 1e6) | st.just(math.inf), min_size=2, max_size=6),
    st.floats(0.01, 1e3),
)
def test_more_write_amplification_never_raises_a_score(
    row: dict[str, Any], amplifications: Sequence[float], target: float
) -> None:
    policy = AmplificationPolicy(AmplificationConfig(target=target))
    worse = [{**row, "write_amplification": value} for value in sorted(amplifications)]

    scores = [verdict["score"] for verdict in verdicts_of(policy, *worse)]

    assert scores == sorted(scores, reverse=True)


@quick
@given(keyed_rows())
def test_amplification_is_due_from_the_stop_trigger_on(row: dict[str, Any]) -> None:
    verdict = verdict_of(AmplificationPolicy(), row)

    if row["sorted_runs"] >= row["stop_trigger"]:
        assert verdict["score"] >= 1
        assert verdict["action"] == "compact"


@quick
@given(st.one_of(keyed_rows(), append_rows()))
def test_amplification_follows_its_formula(row: dict[str, Any]) -> None:
    """The issue's words, in plain Python, wherever no guard is at work."""
    verdict = verdict_of(AmplificationPolicy(), row)
    overlap = row["overlap_bytes"] / row["bytes"] if row["bytes"] else 0.0
    pile = max(row["sorted_runs"] / row["trigger"], row["small_files"] / row["min_file_num"])
    score = pile * (1 + overlap) / 2 / max(1, (row["write_amplification"] or 0) / 6)
    guarded = row["sorted_runs"] < 2 if row["keyed"] else row["packable_files"] == 0

    if guarded:
        assert verdict["action"] is None
    elif row["keyed"] and row["sorted_runs"] >= row["stop_trigger"]:
        assert verdict["score"] == pytest.approx(max(score, 1.0))
    else:
        assert verdict["score"] == pytest.approx(score)


@quick
@given(rows)
def test_every_bucket_gets_a_verdict_in_order(facts: list[dict[str, Any]]) -> None:
    frame = facts_frame(*facts)
    for policy in POLICIES:
        verdicts = judge_with(policy, frame.lazy(), now=NOW)

        assert verdicts.select("table", "partition", "bucket").equals(
            frame.select("table", "partition", "bucket")
        )


def anything(dtype: pl.DataType) -> st.SearchStrategy[Any]:
    """Any value that the column can hold, nonsense first of all."""
    match dtype:
        case pl.Boolean():
            return st.none() | st.booleans()
        case pl.String():
            return st.sampled_from(["", "rec.events", "dt=ü/hr=1", "{}", "%s"])
        case pl.Float64():
            odd = [math.nan, math.inf, -math.inf, -1.0, 0.0, 5e-324, 1.8e308 / 2]
            return st.none() | st.sampled_from(odd) | st.floats()
        case pl.List():
            run = st.fixed_dictionaries(
                {"level": anything(pl.Int32()), "bytes": anything(pl.Int64())}
            )
            return st.none() | st.lists(st.none() | run, max_size=9)
        case _:
            top = 2**31 - 1 if dtype == pl.Int32() else 2**63 - 1
            return st.none() | st.sampled_from([0, 1, -1, 5, top, -top - 1]) | st.integers(-9, 9)


nonsense = st.lists(
    st.fixed_dictionaries({name: anything(dtype) for name, dtype in HEALTH_SCHEMA.items()}),
    min_size=1,
    max_size=8,
)


@quick
@given(nonsense)
def test_nonsense_in_the_facts_gives_finite_scores_with_reasons(
    facts: list[dict[str, Any]],
) -> None:
    """`judge_with` refuses everything else; here it must have nothing to refuse."""
    numbered = [{**row, "bucket": number} for number, row in enumerate(facts)]
    frame = pl.DataFrame(numbered, schema=HEALTH_SCHEMA)
    for policy in POLICIES:
        assert judge_with(policy, frame.lazy(), now=NOW).height == len(facts)


@st.composite
def proposals(draw: st.DrawFn) -> Proposal:
    return Proposal(
        key=BucketKey(draw(st.sampled_from(["a.t", "b.t"])), "", draw(st.integers(0, 4))),
        action="compact",
        score=draw(st.floats(1, 9)),
        reason="due",
        memory_bytes=draw(st.integers(0, 50)),
        oldest_level0_age_seconds=draw(st.none() | st.floats(0, 100)),
        limits=PickLimits(5, 200, 1),
    )


keys = st.frozensets(
    st.builds(BucketKey, st.sampled_from(["a.t", "b.t"]), st.just(""), st.integers(0, 4)),
    max_size=3,
)


@quick
@given(
    st.lists(proposals(), max_size=15),
    st.builds(Budget, st.integers(-1, 6), st.integers(-5, 120), st.none() | st.integers(0, 120)),
    st.builds(Standing, keys, keys, st.frozensets(st.sampled_from(["a.t", "c.t"]))),
)
def test_admission_never_exceeds_a_budget_and_loses_nothing(
    offered: list[Proposal], budget: Budget, standing: Standing
) -> None:
    admission = plan_admission(offered, budget, standing)
    started = [p.key for p in admission.admitted]
    everything = [*admission.admitted, *(d.proposal for d in admission.deferred)]

    assert len(started) <= max(0, budget.slots)
    assert sum(p.memory_bytes for p in admission.admitted) <= max(0, budget.memory_bytes)
    assert len(set(started)) == len(started)
    assert not set(started) & (standing.running | standing.quarantined)
    assert not {key.table for key in started} & standing.halted
    assert sorted(map(repr, everything)) == sorted(map(repr, offered))
    assert all(deferral.reason for deferral in admission.deferred)
    assert admission == plan_admission(reversed(offered), budget, standing)
