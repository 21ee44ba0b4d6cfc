"""The step of `aggregation`: each column by a function of its own.

Straight from maintenance §4.5; reference class ``AggregateMergeFunction``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ..datatypes import DataType
from ..schema import KIND, SEQUENCE
from .engine import Aggregation, ValueColumn
from .fold import DELETED, Check, Step, flag_name, new_name
from .partial_update import NULL_REFUSED
from .rule import DELETE_KIND, RETRACT_KINDS


@dataclass(frozen=True, slots=True)
class AggregationProgram:
    """The engine as a step over the state of a key."""

    engine: Aggregation

    @property
    def columns(self) -> Mapping[str, DataType]:
        return {c.name: c.type for c in self.engine.columns}

    @property
    def flags(self) -> Sequence[str]:
        stateful = [c for c in self.engine.columns if c.function and c.function.stateful]
        return (DELETED, *(flag_name(c.name) for c in stateful))

    def step(self) -> Step:
        kind = pl.col(new_name(KIND))
        deletes = pl.lit(self.engine.remove_on_delete) & (kind == DELETE_KIND)
        retract = kind.is_in(RETRACT_KINDS) & ~deletes
        checks: list[Check] = []
        state: dict[str, pl.Expr] = {}
        for column in self.engine.columns:
            state |= _column(column, deletes, retract, checks)
        state[DELETED] = deletes
        state[SEQUENCE] = pl.col(new_name(SEQUENCE))
        return Step(state, checks)


def _column(
    column: ValueColumn, deletes: pl.Expr, retract: pl.Expr, checks: list[Check]
) -> dict[str, pl.Expr]:
    """The column and its flag after the record."""
    function, name = column.function, column.name
    assert function is not None
    acc, new, flag = pl.col(name), pl.col(new_name(name)), pl.col(flag_name(name))
    adds = ~(deletes | retract)
    added = function.add(acc, new, flag if function.stateful else None)
    if added.bad is not None:
        checks.append(Check(adds & added.bad, added.why, name))
    taken = function.retract(acc, new)
    if taken is None:
        checks.append(Check(retract, "the function cannot take values back", name))
    elif taken.bad is not None:
        checks.append(Check(retract & taken.bad, taken.why, name))
    if not column.type.nullable:
        checks.append(Check(deletes & new.is_null(), NULL_REFUSED, name))
    back = acc if taken is None else taken.value
    value = pl.when(deletes).then(new).when(retract).then(back).otherwise(added.value)
    if not function.stateful:
        return {name: value}
    marked = pl.when(adds).then(function.mark(new, flag)).otherwise(flag)
    return {name: value, flag_name(name): marked}
