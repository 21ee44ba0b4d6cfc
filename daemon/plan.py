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
        wanted = frozenset(names)
        for rule, frame in self.verdicts:
            due = frame.filter(pl.col("action").is_not_null())
            proposals = proposals_from(due, memory_bytes=memory_bytes)
            by_table: dict[str, list[tuple[Proposal, int]]] = {}
            for proposal, size in zip(proposals, due["bytes"].to_list(), strict=True):
                if proposal.key.table in wanted:
                    by_table.setdefault(proposal.key.table, []).append((proposal, size))
            for name, rows in by_table.items():
                kept = tuple(p for p, _ in rows if p.key not in without)
                found[name] = DueTable(rule.name, kept, {p.key: size for p, size in rows})
        return found


class RuleBook:
    """The most specific rule of each table, looked up once."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self._known: dict[tuple[str, str], Rule | None] = {}

    def of(self, catalog: str, table: str) -> Rule | None:
        """The rule for ``table`` ("db.table") of the catalog; None: it is left alone."""
        key = (catalog, table)
        if key not in self._known:
            self._known[key] = best_rule(self.rules, catalog=catalog, table=table)
        return self._known[key]


def judge(tables: Sequence[TableFacts], rules: Sequence[Rule], *, now: datetime) -> Judged:
    """Verdicts of the most specific rule of each table; one pass per rule, unless that fails."""
    book = RuleBook(rules)
    named = {t.name: book.of(t.catalog, t.table) for t in tables if t.facts.height}
    frames = [t.facts for t in tables if t.facts.height]
    return judge_frame(pl.concat(frames), named, rules, now=now) if frames else Judged((), ())


def judge_frame(
    facts: pl.DataFrame,
    rule_of: Mapping[str, Rule | None],
    rules: Sequence[Rule],
    *,
    now: datetime,
) -> Judged:
    """The same for tables whose frames are one already.

    Args:
        rule_of: the rule by the name of its table; tables without one are left alone.
    """
    covered: dict[str, list[str]] = {}
    for name, rule in rule_of.items():
        if rule is not None:
            covered.setdefault(rule.name, []).append(name)
    verdicts: list[tuple[Rule, pl.DataFrame]] = []
    failures: list[tuple[Rule, PolicyError]] = []
    for rule in rules:
        part = facts.filter(pl.col("table").is_in(covered.get(rule.name, [])))
        if not part.height:
            continue
        try:
            verdicts.append((rule, _judged(rule, part, now)))
        except PolicyError as error:
            tables = part.partition_by("table", maintain_order=True)
            frames, error = _each_judged(rule, tables, now, error)
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
