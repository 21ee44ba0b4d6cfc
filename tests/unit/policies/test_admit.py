"""Who starts now, who waits, and why."""

from __future__ import annotations

from typing import Any

import pytest
from support.facts import NOW, append_facts, facts_frame, keyed_facts

from desilt.policies import (
    Admission,
    BucketKey,
    Budget,
    PickLimits,
    Proposal,
    Standing,
    UniversalConfig,
    UniversalPolicy,
    judge_with,
    plan_admission,
    proposals_from,
)
from desilt.policies.admit import QUICK_BYTES, WAIT_SECONDS

PLENTY = Budget(slots=100, memory_bytes=10_000)


def proposal(bucket: int = 0, **changes: Any) -> Proposal:
    """A due bucket of rec.events."""
    table = changes.pop("table", "rec.events")
    values: dict[str, Any] = {
        "key": BucketKey(table, changes.pop("partition", ""), bucket),
        "action": "compact",
        "score": 1.0,
        "reason": "due",
        "memory_bytes": 10,
        "oldest_level0_age_seconds": 1.0,
        "limits": PickLimits(5, 200, 1),
    }
    return Proposal(**{**values, **changes})


def admitted(admission: Admission) -> list[int]:
    return [p.key.bucket for p in admission.admitted]


def reasons(admission: Admission) -> dict[int, str]:
    return {d.proposal.key.bucket: d.reason for d in admission.deferred}


def test_admission_goes_by_score_then_age_then_name() -> None:
    proposals = [
        proposal(0, table="z.t", score=1.0),
        proposal(1, score=1.0, oldest_level0_age_seconds=None),
        proposal(2, score=1.0, partition="dt=b"),
        proposal(3, score=1.0, partition="dt=a"),
        proposal(4, score=1.0, oldest_level0_age_seconds=60.0),
        proposal(5, score=3.0, oldest_level0_age_seconds=None),
    ]

    admission = plan_admission(proposals, PLENTY, Standing())

    assert admitted(admission) == [5, 4, 3, 2, 0, 1]
    assert admission == plan_admission(reversed(proposals), PLENTY, Standing())


def test_admission_stops_at_the_slots() -> None:
    admission = plan_admission(
        [proposal(n, score=9.0 - n) for n in range(4)], Budget(2, 1000), Standing()
    )

    assert admitted(admission) == [0, 1]
    assert reasons(admission) == {2: "no slot left", 3: "no slot left"}


def test_admission_holds_memory_for_the_more_urgent() -> None:
    proposals = [
        proposal(0, score=4.0, memory_bytes=60),
        proposal(1, score=3.0, memory_bytes=50),
        proposal(2, score=2.0, memory_bytes=10),
    ]

    admission = plan_admission(proposals, Budget(9, 100), Standing())

    assert admitted(admission) == [0]
    assert reasons(admission) == {
        1: "needs 50 bytes of memory, 40 left",
        2: "memory is held for rec.events bucket 1",
    }


def test_admission_keeps_a_slot_for_what_is_quick() -> None:
    long = {"read_bytes": QUICK_BYTES + 1}
    proposals = [proposal(0, score=9.0, **long), proposal(1, score=8.0, **long), proposal(2)]

    admission = plan_admission(proposals, Budget(2, 1000, long_slots=1), Standing())

    assert admitted(admission) == [0, 2]
    assert reasons(admission) == {1: "the last slot is kept for quick tasks"}
    assert admitted(plan_admission(proposals, Budget(2, 1000), Standing())) == [0, 1]
    assert admitted(plan_admission(proposals, Budget(2, 1000, long_slots=0), Standing())) == [2]


def test_admission_lets_what_waited_go_before_what_is_worse() -> None:
    """Ten minutes make a score of 1 worth as much as one of 3."""
    proposals = [proposal(0, score=2.9), proposal(1, score=1.0, waited_seconds=2 * WAIT_SECONDS)]

    assert admitted(plan_admission(proposals, PLENTY, Standing())) == [1, 0]


def test_admission_is_not_held_up_by_what_never_fits() -> None:
    proposals = [proposal(0, score=4.0, memory_bytes=101), proposal(1, memory_bytes=50)]

    admission = plan_admission(proposals, Budget(9, 60, memory_bytes_total=100), Standing())

    assert admitted(admission) == [1]
    assert reasons(admission) == {0: "needs 101 bytes of memory, more than the whole budget of 100"}


def test_admission_leaves_alone_what_runs_or_was_stopped() -> None:
    proposals = [proposal(n) for n in range(3)] + [proposal(3, table="ads.clicks")]
    standing = Standing(
        running=frozenset({proposals[0].key}),
        quarantined=frozenset({proposals[1].key}),
        halted=frozenset({"ads.clicks"}),
    )

    admission = plan_admission(proposals, PLENTY, standing)

    assert admitted(admission) == [2]
    assert reasons(admission) == {
        0: "a task of this bucket is running",
        1: "the bucket is quarantined",
        3: "the table is halted",
    }


def test_admission_starts_one_task_per_bucket() -> None:
    admission = plan_admission([proposal(0, score=1.0), proposal(0, score=2.0)], PLENTY, Standing())

    assert [p.score for p in admission.admitted] == [2.0]
    assert reasons(admission) == {0: "another task of this bucket was admitted"}


def test_admission_of_nothing_is_empty() -> None:
    assert plan_admission([], PLENTY, Standing()) == Admission((), ())


def test_admission_starts_nothing_when_the_budget_is_overdrawn() -> None:
    admission = plan_admission([proposal()], Budget(-1, -5, memory_bytes_total=100), Standing())

    assert admission.admitted == ()


@pytest.mark.parametrize("score", [0.5, float("nan"), float("inf")])
def test_proposal_refuses_what_is_not_due(score: float) -> None:
    with pytest.raises(ValueError, match="a proposal is due"):
        proposal(score=score)


def test_proposal_refuses_negative_memory() -> None:
    with pytest.raises(ValueError, match="not negative"):
        proposal(memory_bytes=-1)


def test_proposals_from_takes_the_due_rows_with_the_numbers_to_plan_with() -> None:
    facts = facts_frame(keyed_facts("0:1"), keyed_facts("0:1 0:1 0:1", partition="dt=a"))
    policy = UniversalPolicy(UniversalConfig(trigger=3))

    found = proposals_from(judge_with(policy, facts.lazy(), now=NOW), memory_bytes=7)

    assert [p.key for p in found] == [BucketKey("rec.events", "dt=a", 0)]
    assert found[0].limits == PickLimits(3, 200, 1)
    assert found[0].memory_bytes == 7
    assert found[0].oldest_level0_age_seconds == 1.0
    assert found[0].reason.startswith("due by ")


@pytest.mark.parametrize(
    ("facts", "read_bytes"),
    [
        pytest.param(keyed_facts("0:3 0:2 0:1 0:1 5:90"), 97, id="all that is there"),
        pytest.param(
            keyed_facts("0:3 1:4 4:8 5:90", up_level0=True), 16, id="levels 0 and 1, and keys"
        ),
        pytest.param(
            keyed_facts("0:1 0:1 0:1 0:1 0:1 5:90", up_level0=True), 95, id="more than it lifts"
        ),
        pytest.param(keyed_facts("0:3 5:90", up_level0=True, full_commits=1), 93, id="whole"),
        pytest.param(
            append_facts(packable_files=5, packable_bytes=20, bytes=70), 20, id="what is packed"
        ),
    ],
)
def test_proposals_from_say_what_their_tasks_read_at_most(
    facts: dict[str, Any], read_bytes: int
) -> None:
    verdicts = judge_with(UniversalPolicy(), facts_frame(facts).lazy(), now=NOW)

    (found,) = proposals_from(verdicts, memory_bytes=7)

    assert found.read_bytes == read_bytes
    assert found.limits.full == (facts["full_commits"] is not None)
