"""The meaning of every engine: records of a key are numbered in feed order, and round *i* applies
the engine's step to the keys that have an *i*-th record.

A *program* is a step written as expressions over the state of a key and a record: state columns
have the names of the table's columns, the record's the same behind `new_name`. There are as many
rounds as the longest key has records, and each is one pass over the keys that are not done.

Decimals are folded as their unscaled integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import polars as pl

from ..datatypes import DataType, Root
from ..errors import BadData
from ..schema import KIND, SEQUENCE
from .decimal_columns import to_unscaled
from .feed import Feed, Indices

DELETED = "\0deleted"
"""State: the last record removed the whole row."""
FILLED = "\0filled"
"""State: the row has had values."""
INSERTED = "\0inserted"
"""State: an add was seen."""


def new_name(column: str) -> str:
    """The record's column in a step."""
    return f"\0new {column}"


def flag_name(column: str) -> str:
    """State: whether a function that takes the first value has had one."""
    return f"\0flag {column}"


@dataclass(frozen=True, slots=True)
class Check:
    """Where ``bad`` is true the records must be refused."""

    bad: pl.Expr
    why: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """The state after a record, and what must not be."""

    state: Mapping[str, pl.Expr]
    checks: Sequence[Check]


class Program(Protocol):
    """One engine as a step."""

    @property
    def columns(self) -> Mapping[str, DataType]:
        """The table columns that are folded."""
        ...

    @property
    def flags(self) -> Sequence[str]:
        """State columns that begin as false."""
        ...

    def step(self) -> Step: ...


class BadRecord(Exception):
    """Records of one key that cannot be merged; ``key`` numbers it in the feed."""

    def __init__(self, key: int, check: Check) -> None:
        super().__init__(key, check.why)
        self.key = key
        self.check = check


def fold(feed: Feed, program: Program) -> pl.DataFrame:
    """The state of every key after all its records, in key order.

    Columns: the program's columns (decimals unscaled), its flags, and `_SEQUENCE_NUMBER`.

    Raises:
        BadRecord: the first key that has records which must be refused.
    """
    step = program.step()
    records = _records(feed, program)
    # Keys with many records first, so that each round's keys are the front of the state.
    by_count = np.argsort(-feed.counts, kind="stable")
    counts, starts = feed.counts[by_count], feed.starts[by_count]
    state = _blank(program, records, len(counts))
    for number in range(int(counts[0]) if len(counts) else 0):
        active = int(np.searchsorted(-counts, -number, side="left"))
        front = state.head(active)
        given = records[pl.Series(starts[:active] + number)]
        both = pl.concat([front, given], how="horizontal")
        after = both.select(
            *(expression.alias(name) for name, expression in step.state.items()),
            *(check.bad.fill_null(value=False).alias(f"\0bad {i}")
              for i, check in enumerate(step.checks)),
        )  # fmt: skip
        _refuse(after, step.checks, by_count)
        state = pl.concat([after.select(state.columns), state.slice(active)])
    return state[pl.Series(np.argsort(by_count, kind="stable"))]


def _records(feed: Feed, program: Program) -> pl.DataFrame:
    """The columns of the records in feed order, decimals unscaled, under their record's names."""
    columns = [
        _folded(feed.column(name), data_type).alias(new_name(name))
        for name, data_type in program.columns.items()
    ]
    system = [feed.column(name).alias(new_name(name)) for name in (KIND, SEQUENCE)]
    return pl.DataFrame([*columns, *system])


def _folded(series: pl.Series, data_type: DataType) -> pl.Series:
    return to_unscaled(series) if data_type.root is Root.DECIMAL else series


def _blank(program: Program, records: pl.DataFrame, keys: int) -> pl.DataFrame:
    """The state before any record: nulls, flags false, sequence 0."""
    nulls = [
        pl.Series(name, [None], dtype=records.schema[new_name(name)]).new_from_index(0, keys)
        for name in program.columns
    ]
    flags = [pl.Series(n, [False], dtype=pl.Boolean).new_from_index(0, keys) for n in program.flags]
    sequence = pl.Series(SEQUENCE, [0], dtype=pl.Int64).new_from_index(0, keys)
    return pl.DataFrame([*nulls, *flags, sequence])


def _refuse(after: pl.DataFrame, checks: Sequence[Check], by_count: Indices) -> None:
    for number, check in enumerate(checks):
        bad = after.get_column(f"\0bad {number}")
        if bad.any():
            raise BadRecord(int(by_count[int(bad.arg_max() or 0)]), check)


def bad_data(error: BadRecord, key: str) -> BadData:
    """The refusal with the key's values."""
    return BadData(error.check.why, column=error.check.column, key=key)
