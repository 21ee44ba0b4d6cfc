"""Reading cost against writing cost, as cases worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from support.facts import append_facts, keyed_facts, verdict_of

from desilt.policies import AmplificationConfig, AmplificationPolicy

# Five equal runs of which nothing overlaps: pressure 5 ÷ 5 × (1 + 0) ÷ 2.
FIVE = "0:20 0:20 0:20 0:20 0:20"


@pytest.mark.parametrize(
    ("facts", "score"),
    [
        pytest.param(keyed_facts(FIVE), 0.5, id="no overlap halves"),
        pytest.param(keyed_facts(FIVE, overlap_bytes=100), 1.0, id="full overlap"),
        pytest.param(keyed_facts(FIVE, overlap_bytes=50), 0.75, id="half overlap"),
        pytest.param(keyed_facts(FIVE, overlap_bytes=100, small_files=15), 3.0, id="small files"),
        pytest.param(
            keyed_facts(FIVE, overlap_bytes=100, write_amplification=12.0), 0.5, id="costly"
        ),
        pytest.param(
            keyed_facts(FIVE, overlap_bytes=100, write_amplification=5.9), 1.0, id="in budget"
        ),
        pytest.param(
            keyed_facts("0:1 " * 8, write_amplification=600.0), 1.0, id="writers stand still"
        ),
        pytest.param(
            keyed_facts("0:1 " * 10, overlap_bytes=10, write_amplification=6.0), 2.0, id="worse"
        ),
        pytest.param(append_facts(small_files=10, packable_files=10, bytes=9), 1.0, id="append"),
        pytest.param(append_facts(small_files=5, packable_files=5, bytes=9), 0.5, id="append few"),
        pytest.param(keyed_facts(), 0.0, id="empty"),
        pytest.param(keyed_facts("0:0 0:0", bytes=0), 0.2, id="zero bytes"),
    ],
)
def test_amplification_scores(facts: dict[str, Any], score: float) -> None:
    verdict = verdict_of(AmplificationPolicy(), facts)

    assert verdict["score"] == pytest.approx(score)
    assert verdict["action"] == ("compact" if score >= 1 else None)


def test_amplification_takes_its_target_from_the_yaml() -> None:
    facts = keyed_facts(FIVE, overlap_bytes=100, write_amplification=12.0)

    verdict = verdict_of(AmplificationPolicy(AmplificationConfig(target=12.0)), facts)

    assert verdict["score"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (
            keyed_facts(FIVE, overlap_bytes=100, small_files=5, write_amplification=3.0),
            "due: score 1.0 from pressure 1.0: sorted runs 5 (trigger 5), small files 5"
            " (min-file-num 5), overlap 100 of 100 bytes, write amplification 3.0 (target 6.0)",
        ),
        (
            keyed_facts(FIVE),
            "not due: score 0.5 from pressure 0.5: sorted runs 5 (trigger 5), small files 0"
            " (min-file-num 5), overlap 0 of 100 bytes, write amplification not known",
        ),
        (
            keyed_facts("0:1 " * 8, write_amplification=60.0),
            "due: 8 sorted runs reach the stop trigger of 8; score 1.0 from pressure 0.8:"
            " sorted runs 8 (trigger 5), small files 0 (min-file-num 5), overlap 0 of 8 bytes,"
            " write amplification 60.0 (target 6.0)",
        ),
        (
            append_facts(small_files=20),
            "not due: nothing to pack; score 0.999 from pressure 2.0: small files 20"
            " (min-file-num 5), overlap 0 of 0 bytes, write amplification not known",
        ),
        (
            keyed_facts("5:100", small_files=20),
            "not due: fewer than 2 sorted runs, nothing to merge; score 0.999 from pressure 2.0:"
            " sorted runs 1 (trigger 5), small files 20 (min-file-num 5), overlap 0 of 100 bytes,"
            " write amplification not known",
        ),
    ],
)
def test_amplification_says_why_with_its_numbers(facts: dict[str, Any], reason: str) -> None:
    assert verdict_of(AmplificationPolicy(), facts)["reason"] == reason


def test_amplification_proposes_no_compaction_that_changes_nothing() -> None:
    """A single run at the top stays a single run at the top, however many small files it has."""
    verdict = verdict_of(AmplificationPolicy(), keyed_facts("5:100", small_files=500, files=500))

    assert verdict["action"] is None
    assert verdict["score"] < 1


def test_amplification_plans_below_the_trigger_where_universal_would_pick_nothing() -> None:
    """Three runs never reach a trigger of five; planned with two, they are merged."""
    verdict = verdict_of(
        AmplificationPolicy(), keyed_facts("0:1 0:9 5:90", small_files=9, overlap_bytes=100)
    )

    assert verdict["action"] == "compact"
    assert verdict["trigger"] == 2
    assert "(trigger 5)" in verdict["reason"]


def test_amplification_keeps_the_trigger_where_universal_would_pick() -> None:
    verdict = verdict_of(AmplificationPolicy(), keyed_facts("0:1 " * 9))

    assert verdict["action"] is not None
    assert verdict["trigger"] == 5


@pytest.mark.parametrize("target", [0.0, -1.0, float("inf"), float("nan")])
def test_amplification_refuses_a_target_that_is_no_positive_number(target: float) -> None:
    from desilt.policies import PolicyConfigError, load_registry

    with pytest.raises(PolicyConfigError, match="target"):
        load_registry([]).policy_from({"kind": "amplification", "target": target})
