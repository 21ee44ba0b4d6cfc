"""Facts and policies → what is due; pure. In steps:

1. each table gets the rule whose ``match`` is the most specific one; a table without a rule is left
   alone;
2. the health frames of all tables of a rule are judged in one pass, so that a million buckets cost
   one call;
3. a policy that fails costs its own verdicts and nothing else;
4. due verdicts become proposals, each with its share of the memory budget.

What starts now is decided by `policies/admit.py`; `explain` prints the verdicts as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from ..policies.admit import BucketKey, Proposal, proposals_from
from ..policies.api import Policy, judge_with
from ..policies.errors import PolicyError
from ..policies.match import best_rule
from ..table.expire import Override
from .chores import Chore


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of ``policies`` in the YAML."""

    name: str
    match: str
    policy: Policy
    snapshots: Override | None = None
    """Which snapshots stay; None: this is not for us to say."""
    chores: tuple[Chore, ...] = ()
    """What else is done to the tables now and then."""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """One table's health frame; ``name`` is what its column ``table`` says."""

    name: str
    catalog: str
    table: str
    facts: pl.DataFrame


@dataclass(frozen=True, slots=True)
class DueTable:
    """What is due in one table, in no order; live bytes by bucket."""

    rule: str
    proposals: tuple[Proposal, ...]
    size_bytes: Mapping[BucketKey, int]


@dataclass(frozen=True, slots=True)
class Judged:
    """Verdicts of every bucket that a rule covers, and the rules that failed."""

    verdicts: tuple[tuple[Rule, pl.DataFrame], ...]
    failures: tuple[tuple[Rule, PolicyError], ...]

    def due(
        self, names: Iterable[str], memory_bytes: int, without: Collection[BucketKey] = ()
    ) -> dict[str, DueTable]:
        """What is due by table; tables of ``names`` where nothing is are left out.

        Args:
            without: buckets that wait for a person; they are counted as that, not as due.
        """
        found: dict[str, DueTable] = {}
        wanted = list(names)
        for rule, frame in self.verdicts:
            due = frame.filter(pl.col("action").is_not_null() & pl.col("table").is_in(wanted))
            for (name,), part in due.group_by("table"):
                proposals = proposals_from(part, memory_bytes=memory_bytes)
                keys = (proposal.key for proposal in proposals)
                sizes = dict(zip(keys, part["bytes"].to_list(), strict=True))
                kept = tuple(p for p in proposals if p.key not in without)
                found[str(name)] = DueTable(rule.name, kept, sizes)
        return found


def judge(tables: Sequence[TableFacts], rules: Sequence[Rule], *, now: datetime) -> Judged:
    """Verdicts of the most specific rule of each table; one pass per rule, unless that fails."""
    covered: dict[str, list[pl.DataFrame]] = {}
    for table in tables:
        rule = best_rule(rules, catalog=table.catalog, table=table.table)
        if rule is not None and table.facts.height:
            covered.setdefault(rule.name, []).append(table.facts)
    verdicts: list[tuple[Rule, pl.DataFrame]] = []
    failures: list[tuple[Rule, PolicyError]] = []
    for rule in rules:
        if rule.name not in covered:
            continue
        try:
            verdicts.append((rule, _judged(rule, pl.concat(covered[rule.name]), now)))
        except PolicyError as error:
            frames, error = _each_judged(rule, covered[rule.name], now, error)
            verdicts += [(rule, frame) for frame in frames]
            failures.append((rule, error))
    return Judged(tuple(verdicts), tuple(failures))


def _judged(rule: Rule, facts: pl.DataFrame, now: datetime) -> pl.DataFrame:
    return judge_with(rule.policy, facts.lazy(), now=now)


def _each_judged(
    rule: Rule, tables: Sequence[pl.DataFrame], now: datetime, error: PolicyError
) -> tuple[list[pl.DataFrame], PolicyError]:
    """Table by table, so that one whose facts the policy cannot bear does not stop the others.

    Returns the verdicts there are, and the last error, which stands for all, with its table.
    """
    frames: list[pl.DataFrame] = []
    for facts in tables if len(tables) > 1 else ():
        try:
            frames.append(_judged(rule, facts, now))
        except PolicyError as own:
            error = PolicyError(own.message, **{**own.context, "table": facts["table"][0]})
    return frames, error
