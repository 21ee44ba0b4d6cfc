"""The demo's tables: one of each kind that a newcomer should see, what is written to them, and what
a row is to become of it. The model knows nothing of how tables merge."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import polars as pl

from .streams import Event, clicks, events, profiles, sales

Values: TypeAlias = tuple[Any, ...]
"""A row without its first column, the key."""

Merge: TypeAlias = Callable[[Values | None, str, Values], Values | None]
"""What a key holds after an event: of what it held, the event's kind, and its values."""

COMMIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A table; the first column is the key, of append tables a number of which there is one."""

    name: str
    about: str
    columns: Mapping[str, str]
    stream: Callable[[random.Random], Iterator[list[Event]]]
    merge: Merge
    keyed: bool = True
    tells: bool = True
    """Whether the table has a changelog, or tells what was appended."""
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def key(self) -> str:
        return next(iter(self.columns))

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The columns in memory."""
        types = {"STRING": pl.String(), "BIGINT": pl.Int64()}
        return {name: types[text.split()[0]] for name, text in self.columns.items()}


def newest(held: Values | None, kind: str, values: Values) -> Values | None:
    """`deduplicate`, and an append table: what was written last."""
    return None if kind == "-D" else values


def newest_of_each_group(held: Values | None, kind: str, values: Values) -> Values | None:
    """`partial-update` with sequence groups: name and city each by the time that they changed."""
    name, named_at, city, moved_at = held or (None, None, None, None)
    if values[1] is not None and (named_at is None or values[1] >= named_at):
        name, named_at = values[:2]
    if values[3] is not None and (moved_at is None or values[3] >= moved_at):
        city, moved_at = values[2:]
    return name, named_at, city, moved_at


def totals(held: Values | None, kind: str, values: Values) -> Values | None:
    """`aggregation`: units summed, the highest price, the last buyer with a name."""
    if held is None:
        return values
    return held[0] + values[0], max(held[1], values[1]), values[2] or held[2]


KINDS = (
    Kind(
        "demo.events",
        "deduplicate, lookup, deletion vectors",
        {"event_id": "BIGINT NOT NULL", "user_name": "STRING", "amount_cents": "BIGINT"},
        events,
        newest,
        options={
            "bucket": "2",
            "changelog-producer": "lookup",
            "deletion-vectors.enabled": "true",
        },
    ),
    Kind(
        "demo.profiles",
        "partial-update, sequence groups",
        {
            "user_id": "BIGINT NOT NULL",
            "name": "STRING",
            "named_at": "BIGINT",
            "city": "STRING",
            "moved_at": "BIGINT",
        },
        profiles,
        newest_of_each_group,
        tells=False,
        options={
            "bucket": "1",
            "merge-engine": "partial-update",
            "fields.named_at.sequence-group": "name",
            "fields.moved_at.sequence-group": "city",
        },
    ),
    Kind(
        "demo.sales",
        "aggregation, full-compaction",
        {
            "product_id": "BIGINT NOT NULL",
            "units": "BIGINT",
            "best_cents": "BIGINT",
            "last_buyer": "STRING",
        },
        sales,
        totals,
        options={
            "bucket": "1",
            "merge-engine": "aggregation",
            "changelog-producer": "full-compaction",
            "fields.units.aggregate-function": "sum",
            "fields.best_cents.aggregate-function": "max",
            "fields.last_buyer.aggregate-function": "last_non_null_value",
        },
    ),
    Kind(
        "demo.clicks",
        "append",
        {"click_id": "BIGINT NOT NULL", "page": "STRING", "user_name": "STRING"},
        clicks,
        newest,
        keyed=False,
        options={"bucket": "-1"},
    ),
)
