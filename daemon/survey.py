"""One look at a warehouse for the commands `scan` and `explain`: facts and verdicts, nothing
kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from ..policies.api import VERDICT_SCHEMA
from ..policies.registry import load_registry
from ..table.errors import DesiltError, InvalidRequest, UnsupportedFeature
from ..table.health import HEALTH_SCHEMA
from ..table.observe import TableObserver
from .catalogs import open_catalog
from .config import load
from .config_catalog import CatalogConfig
from .plan import Rule, TableFacts, judge
from .service import rules_of

# Without a configuration: the table's own options decide, as in Paimon.
DEFAULT_RULES_NAME = "default"
NO_RULE = "not due: no policy matches this table"


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules, and the name of the catalog that the warehouse has in the configuration ("" if
    none)."""

    rules: tuple[Rule, ...]
    catalog: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """``verdicts``: facts with action, score, reason and rule, one row per bucket, sorted.

    ``errors``: tables that could not be read, and policies that failed.
    """

    verdicts: pl.DataFrame
    observers: dict[str, TableObserver]
    errors: tuple[tuple[str, DesiltError], ...]

    @property
    def exit_code(self) -> int:
        """0, or 3 when tables were only refused by name, or 1."""
        if not self.errors:
            return 0
        refused = all(isinstance(error, UnsupportedFeature) for _, error in self.errors)
        return 3 if refused else 1


def rules_for(catalog: CatalogConfig, config_file: Path | None) -> Rules:
    """The rules of the configuration, or `universal` for every table without one."""
    if config_file is None:
        policy = load_registry().policy_from({"kind": "universal"})
        return Rules((Rule(DEFAULT_RULES_NAME, "*", policy),))
    config = load(config_file)
    return Rules(rules_of(config), catalog.name if catalog in config.catalogs else "")


def survey(
    catalog: CatalogConfig,
    table: str | None,
    rules: Rules,
    on_table: Callable[[str], None] = lambda name: None,
) -> Survey:
    """Look at one table, or at all; one that cannot be read does not stop the others.

    Raises:
        TableError: the one table that was asked for cannot be read, or there is no warehouse.
    """
    opened, errors = open_catalog(catalog), list[tuple[str, DesiltError]]()
    observers: dict[str, TableObserver] = {}
    facts: list[TableFacts] = []
    now = datetime.now(UTC)
    listed = opened.tables()  # first of all: a missing warehouse is named as such
    for name in listed if table is None else (table,):
        try:
            observer = TableObserver(opened.table(name).handle)
            observer.refresh()
            frame = observer.health(int(now.timestamp() * 1000))
        except DesiltError as error:
            if table is not None:
                raise
            errors.append((name, error))
        else:
            observers[name] = observer
            facts.append(TableFacts(name, rules.catalog, name, frame))
        on_table(name)
    judged = judge(facts, rules.rules, now=now)
    errors += [(rule.name, error) for rule, error in judged.failures]
    verdicts = _joined(facts, judged.verdicts)
    return Survey(verdicts, observers, tuple(errors))


def _joined(
    facts: Sequence[TableFacts], judged: Sequence[tuple[Rule, pl.DataFrame]]
) -> pl.DataFrame:
    """Every bucket with its verdict, also where no rule matches or the rule failed."""
    empty = pl.DataFrame(schema={**HEALTH_SCHEMA, **VERDICT_SCHEMA, "rule": pl.String()})
    columns = list(empty.columns)
    parts = [frame.with_columns(rule=pl.lit(rule.name)).select(columns) for rule, frame in judged]
    answered = {name for part in parts for name in part["table"].unique().to_list()}
    silent = [
        entry.facts.with_columns(
            pl.lit(None, VERDICT_SCHEMA["action"]).alias("action"),
            pl.lit(None, pl.Float64).alias("score"),
            pl.lit(NO_RULE).alias("reason"),
            pl.lit(None, pl.String).alias("rule"),
        ).select(columns)
        for entry in facts
        if entry.name not in answered
    ]
    joined = pl.concat([empty, *parts, *silent], how="vertical")
    return joined.sort("table", "partition", "bucket")


def partition_of(pairs: Sequence[str]) -> dict[str, str]:
    """``["dt=a", "hr=1"]`` as a mapping.

    Raises:
        InvalidRequest: an entry is not ``key=value``, or a key comes twice.
    """
    wanted: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise InvalidRequest("a partition is key=value", partition=pair)
        if key in wanted:
            raise InvalidRequest("a partition key comes twice", key=key)
        wanted[key] = value
    return wanted
