"""What the demo shows while it runs: every bucket's health, from the table's metadata alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import polars as pl
from rich.console import Console
from rich.live import Live
from rich.table import Table as RichTable

from ..table.health import HEALTH_SCHEMA
from ..table.manifest.entry import EntryKind
from ..table.observe import TableObserver
from ..table.snapshot import CommitKind
from ..table.table import Table
from .plan import Rule, TableFacts, judge

# Without a terminal a line every so often is enough.
LINE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Look:
    """One look: a row per bucket (health and ``score``), and what was committed so far."""

    buckets: pl.DataFrame
    appends: int
    compactions: int
    appended_files: int

    @property
    def files(self) -> int:
        return int(self.buckets["files"].sum())

    @property
    def sorted_runs_max(self) -> int:
        return max(self.buckets["sorted_runs"].to_list(), default=0)


class Watcher:
    """Looks at one table; keeps counts of the snapshots that it saw."""

    def __init__(self, table: Table, rules: Sequence[Rule]) -> None:
        self._table = table
        self._rules = tuple(rules)
        self._observer = TableObserver(table.handle)
        self._counts = {CommitKind.APPEND: 0, CommitKind.COMPACT: 0}
        self._appended_files = 0
        self._seen = 0

    def look(self) -> Look:
        """The state now; reads only what is new since the last look."""
        self._observer.refresh()
        self._count()
        now = datetime.now(UTC)
        facts = self._observer.health(int(now.timestamp() * 1000))
        return Look(
            self._scored(facts, now),
            self._counts[CommitKind.APPEND],
            self._counts[CommitKind.COMPACT],
            self._appended_files,
        )

    def _scored(self, facts: pl.DataFrame, now: datetime) -> pl.DataFrame:
        judged = judge([TableFacts("", "", self._table.name, facts)], self._rules, now=now)
        empty = pl.DataFrame(schema={**HEALTH_SCHEMA, "score": pl.Float64()})
        frames = [frame.select(empty.columns) for _, frame in judged.verdicts]
        return pl.concat([empty, *frames]).sort("partition", "bucket")

    def _count(self) -> None:
        store = self._table.handle.snapshots
        for snapshot_id in range(self._seen + 1, (self._observer.snapshot_id or 0) + 1):
            snapshot = store.find(snapshot_id)
            self._seen = snapshot_id
            if snapshot is None or snapshot.commit_kind not in self._counts:
                continue
            self._counts[snapshot.commit_kind] += 1
            if snapshot.commit_kind is CommitKind.APPEND:
                delta = self._observer.reader.delta(snapshot)
                added = delta.filter(pl.col("kind") == EntryKind.ADD)
                self._appended_files += added.height


class Screen:
    """A table that is redrawn on a terminal; a line now and then where there is none."""

    def __init__(self, console: Console, metrics_url: str) -> None:
        self._console = console
        self._url = metrics_url
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._lined = time.monotonic()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, look: Look) -> None:
        """Draw it, or print a line if the last one is old enough."""
        if self._live is not None:
            self._live.update(drawn(look, self._url), refresh=True)
        elif time.monotonic() - self._lined >= LINE_SECONDS:
            self._lined = time.monotonic()
            print(_line(look), flush=True)


def drawn(look: Look, metrics_url: str) -> RichTable:
    """One look as a table for eyes."""
    table = RichTable(
        *("bucket", "files", "sorted runs", "oldest level 0", "write amp.", "score"),
        title="desilt beside a writer that commits every second",
        caption=(
            f"{look.appends} commits by the writer · {look.compactions} compactions landed · "
            f"metrics: {metrics_url}"
        ),
    )
    for row in look.buckets.iter_rows(named=True):
        score, age = row["score"], row["oldest_level0_age_seconds"]
        runs = f"{row['sorted_runs']} of {row['trigger']}"
        table.add_row(
            *(str(row["bucket"]), str(row["files"]), runs, "-" if age is None else f"{age:.0f} s"),
            _number(row["write_amplification"]),
            f"[bold red]{score:.2f}[/]" if score >= 1 else f"[green]{score:.2f}[/]",
        )
    return table


def _line(look: Look) -> str:
    buckets = "; ".join(
        f"bucket {row['bucket']}: files {row['files']}, runs {row['sorted_runs']}, "
        f"write amplification {_number(row['write_amplification'])}, score {row['score']:.2f}"
        for row in look.buckets.iter_rows(named=True)
    )
    return f"{look.appends} commits, {look.compactions} compactions; {buckets}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
