"""The most specific pattern decides."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from desilt.policies import PolicyConfigError, best_rule, check_pattern
from desilt.policies.match import matches, specificity


@dataclass(frozen=True)
class PolicyRule:
    match: str
    name: str = ""


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", True),
        ("*.*", True),
        ("*.*.*", True),
        ("rec.*", True),
        ("rec.events", True),
        ("rec.event?", True),
        ("rec.[ef]vents", True),
        ("lake.rec.events", True),
        ("lake.*.events", True),
        ("lake.*", False),
        ("rec.event", False),
        ("REC.events", False),
        ("ads.*", False),
        ("pond.rec.events", False),
        ("*.rec.events.*", False),
    ],
)
def test_matches_compares_part_by_part(pattern: str, expected: bool) -> None:
    assert matches(pattern, catalog="lake", table="rec.events") is expected


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ("*", "rec.*"),
        ("rec.*", "*.events"),
        ("rec.*", "rec.ev*"),
        ("rec.ev*", "rec.events"),
        ("catalogue-with-a-long-name.*.*", "a.b"),
        ("rec.events", "lake.rec.events"),
        ("rec.e*t*", "rec.et*"),
        ("*.*", "*"),
        ("rec.[events]*", "rec.ev*"),
    ],
)
def test_specificity_orders_patterns(less: str, more: str) -> None:
    assert specificity(less) < specificity(more)


@pytest.mark.parametrize(
    ("patterns", "table", "winner"),
    [
        (("*", "rec.*", "rec.events"), "rec.events", 2),
        (("rec.events", "rec.*", "*"), "rec.events", 0),
        (("*", "rec.*", "rec.events"), "rec.users", 1),
        (("*", "rec.*", "rec.events"), "ads.clicks", 0),
        (("rec.event?", "rec.?vents"), "rec.events", 0),
        (("rec.*", "rec.*"), "rec.events", 0),
        (("rec.*",), "ads.clicks", None),
        ((), "rec.events", None),
    ],
    ids=str,
)
def test_best_rule_is_the_most_specific_then_the_earliest(
    patterns: tuple[str, ...], table: str, winner: int | None
) -> None:
    rules = [PolicyRule(pattern, str(number)) for number, pattern in enumerate(patterns)]

    rule = best_rule(rules, catalog="lake", table=table)

    assert rule == (None if winner is None else rules[winner])


@pytest.mark.parametrize("pattern", ["", "events", "ev*", "a.b.c.d", "rec.", ".events", "a..c"])
def test_check_pattern_refuses_what_can_match_no_table(pattern: str) -> None:
    with pytest.raises(PolicyConfigError, match="match: not"):
        check_pattern(pattern)


@pytest.mark.parametrize("pattern", ["*", "*.*", "rec.events", "lake.rec.*"])
def test_check_pattern_accepts(pattern: str) -> None:
    check_pattern(pattern)
