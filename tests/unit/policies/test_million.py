"""A million buckets are one vectorised pass: no loop over rows, no function per row."""

from __future__ import annotations

import polars as pl
import pytest
from support.facts import NOW, append_facts, facts_frame, keyed_facts

from desilt.policies import AmplificationPolicy, Policy, UniversalPolicy, judge_with

STORY = facts_frame(
    keyed_facts("0:1 0:50 0:60 0:70 5:1000"),
    keyed_facts("0:1 0:50 0:60 0:70 0:80 5:1000"),
    keyed_facts("0:1 " * 9),
    append_facts(packable_files=20, small_files=20),
)


@pytest.mark.parametrize("policy", [UniversalPolicy(), AmplificationPolicy()], ids=["u", "a"])
def test_a_million_buckets_are_judged_without_a_loop_over_rows(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("looped over rows")

    turns = pl.int_range(1_000_000, eager=True) % STORY.height
    million = STORY[turns].with_columns(bucket=pl.int_range(pl.len(), dtype=pl.Int32))
    expected = judge_with(policy, STORY.lazy(), now=NOW)["action"].count()
    for owner, name in (
        (pl.DataFrame, "iter_rows"),
        (pl.DataFrame, "rows"),
        (pl.DataFrame, "to_dicts"),
        (pl.Series, "to_list"),
        (pl.Expr, "map_elements"),
    ):
        monkeypatch.setattr(owner, name, forbidden)

    verdicts = judge_with(policy, million.lazy(), now=NOW)

    assert verdicts.height == 1_000_000
    assert 0 < verdicts["action"].count() == expected * 250_000
