"""What tables ask for by their own options is due under every built-in policy, and says why."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support.facts import append_facts, keyed_facts, verdict_of

from desilt.policies import AmplificationPolicy, Policy, UniversalConfig, UniversalPolicy

POLICIES: list[Policy] = [UniversalPolicy(), AmplificationPolicy()]
both = pytest.mark.parametrize("policy", POLICIES, ids=["universal", "amplification"])


@both
@pytest.mark.parametrize(
    ("facts", "rule", "numbers"),
    [
        pytest.param(
            keyed_facts("0:1 5:100", up_level0=True),
            "up-level-0",
            "1 level-0 files are to leave level 0",
            id="one file at level 0",
        ),
        pytest.param(
            keyed_facts("0:1", up_level0=True),
            "up-level-0",
            "1 level-0 files are to leave level 0",
            id="and nothing else",
        ),
        pytest.param(
            keyed_facts("0:1 0:1 5:100", full_commits=1, commits_since_full=2),
            "full-commits",
            "2 commits since all was one run, which is wanted after 1",
            id="every commit",
        ),
        pytest.param(
            keyed_facts("3:9 5:100", full_commits=3, commits_since_full=3),
            "full-commits",
            "3 commits since all was one run, which is wanted after 3",
            id="lifted meanwhile",
        ),
        pytest.param(
            keyed_facts("0:1 5:100", full_interval_seconds=60.0, full_age_seconds=61.0),
            "full-interval",
            "61 s since all was one run, which is wanted after 60",
            id="interval",
        ),
        pytest.param(
            keyed_facts("0:1 4:100", full_interval_seconds=60.0),
            "full-interval",
            "unknown many s since all was one run, which is wanted after 60",
            id="interval, never",
        ),
        pytest.param(
            keyed_facts("0:1 5:100", full_below_bytes=102),
            "full-below",
            "101 bytes in all, which are wanted in one run below 102",
            id="small bucket",
        ),
        pytest.param(
            keyed_facts("0:7 3:8 5:100", full_above_bytes=14),
            "full-above",
            "15 bytes above the highest level, which are wanted below it from more than 14",
            id="much above",
        ),
    ],
)
def test_what_is_asked_for_is_due_and_says_why(
    policy: Policy, facts: dict[str, Any], rule: str, numbers: str
) -> None:
    """Whatever it has cost so far."""
    verdict = verdict_of(policy, {**facts, "write_amplification": 600.0})

    assert verdict["action"] == "compact"
    assert verdict["reason"].startswith(f"due by {rule}: {numbers}")
    assert verdict["full"] == rule.startswith("full")


@both
@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(keyed_facts("4:1 5:100", up_level0=True), id="nothing at level 0"),
        pytest.param(keyed_facts("5:100", full_commits=1), id="all is one run"),
        pytest.param(keyed_facts("5:100", full_interval_seconds=1.0), id="nothing above"),
        pytest.param(keyed_facts("5:100", full_below_bytes=999), id="small, and one run"),
        pytest.param(keyed_facts("0:1 5:9", full_commits=3, commits_since_full=2), id="not yet"),
        pytest.param(
            keyed_facts("0:1 5:9", full_interval_seconds=60.0, full_age_seconds=60.0), id="too soon"
        ),
        pytest.param(keyed_facts("0:1 5:99", full_below_bytes=100), id="not small"),
        pytest.param(keyed_facts("0:1 5:99", full_above_bytes=1), id="not more"),
        pytest.param(keyed_facts(up_level0=True, full_commits=1), id="no files"),
        pytest.param(append_facts(full_commits=1, up_level0=True), id="append"),
    ],
)
def test_nothing_is_due_that_nobody_asks_for(policy: Policy, facts: dict[str, Any]) -> None:
    verdict = verdict_of(policy, facts)

    assert verdict["action"] is None
    assert not verdict["full"]


@both
@pytest.mark.parametrize(
    ("facts", "score"),
    [
        (keyed_facts("0:1 5:100", up_level0=True), 1.2),
        (keyed_facts("0:1 0:1 0:1 0:1 0:1 5:900", up_level0=True), 2.0),
        (keyed_facts("0:1 5:100", full_commits=1, commits_since_full=1), 1.2),
        (keyed_facts("0:1 5:100", full_commits=1, commits_since_full=10), 3.0),
        (keyed_facts("0:1 5:100", full_commits=10, commits_since_full=10), 1.2),
        (keyed_facts("0:1 5:100", full_below_bytes=200), 1.0),
    ],
)
def test_what_waits_for_a_demand_counts_like_runs_beyond_the_trigger(
    policy: Policy, facts: dict[str, Any], score: float
) -> None:
    assert verdict_of(policy, facts)["score"] == pytest.approx(score)


def test_a_bucket_is_merged_whole_even_where_a_part_of_it_would_be_picked() -> None:
    runs = "0:3 0:2 0:2 0:2 5:9000"

    part = verdict_of(UniversalPolicy(), keyed_facts(runs))
    whole = verdict_of(UniversalPolicy(), keyed_facts(runs, full_commits=1))

    assert part["reason"].startswith("due by size-ratio: ")
    assert not part["full"]
    assert whole["reason"].startswith("due by full-commits: ")
    assert whole["full"]


@pytest.mark.parametrize(("commits", "due"), [(1, True), (2, True), (3, False)])
def test_universal_takes_the_pace_from_the_yaml_first(commits: int, due: bool) -> None:
    config = msgspec.convert({"kind": "universal", "full-commits": commits}, UniversalConfig)

    verdict = verdict_of(
        UniversalPolicy(config), keyed_facts("0:1 0:1 5:9", full_commits=1, commits_since_full=2)
    )

    assert verdict["full"] == due
    assert verdict["full_commits"] == 1  # a fact stays a fact
