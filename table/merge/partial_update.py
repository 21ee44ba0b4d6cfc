"""The step of `partial-update`: columns of several records laid over each other.

Straight from the tables of maintenance §4.4; reference class ``PartialUpdateMergeFunction``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import polars as pl

from ..datatypes import DataType
from ..lsm.order import comparable
from ..schema import KIND, SEQUENCE
from .engine import PartialUpdate, ValueColumn
from .fold import DELETED, FILLED, INSERTED, Check, Step, flag_name, new_name
from .functions.base import Function, Term
from .rule import DELETE_KIND, RETRACT_KINDS

NULL_REFUSED = "null in a NOT NULL column"
NO_DELETES = (
    "partial-update takes no deletes: set ignore-delete, partial-update.remove-record-on-delete "
    "or sequence groups"
)


@dataclass(frozen=True, slots=True)
class PartialUpdateProgram:
    """The engine as a step over the state of a key."""

    engine: PartialUpdate

    @property
    def columns(self) -> Mapping[str, DataType]:
        return {c.name: c.type for c in self.engine.columns}

    @property
    def flags(self) -> Sequence[str]:
        stateful = [c for c in self.engine.columns if c.function and c.function.stateful]
        return (DELETED, FILLED, INSERTED, *(flag_name(c.name) for c in stateful))

    def step(self) -> Step:
        builder = _Builder(self.engine)
        state = {name: builder.column(c) for name, c in self._by_name.items()}
        state |= {flag_name(c.name): builder.flag(c) for c in self._by_name.values()
                  if c.function and c.function.stateful}  # fmt: skip
        state[DELETED] = builder.deleted
        state[FILLED] = pl.lit(value=True)
        state[INSERTED] = pl.col(INSERTED) | ~builder.retract
        ignored = builder.retract & self.engine.ignore_delete
        state[SEQUENCE] = pl.when(ignored).then(SEQUENCE).otherwise(new_name(SEQUENCE))
        return Step(state, builder.checks())

    @property
    def _by_name(self) -> dict[str, ValueColumn]:
        return {c.name: c for c in self.engine.columns}


class _Builder:
    """Expressions of one step; ``retract`` and friends are conditions on the record."""

    def __init__(self, engine: PartialUpdate) -> None:
        self._engine = engine
        self.retract = pl.col(new_name(KIND)).is_in(RETRACT_KINDS)
        self._delete = pl.col(new_name(KIND)) == DELETE_KIND
        # A retract that comes first fills the row with its values, and then retracts from them.
        self._init = self.retract & ~pl.col(FILLED)
        self._types = {c.name: c.type for c in engine.columns}
        self._ages = [self._age(i) for i in range(len(engine.groups))]
        self._checks: list[Check] = []
        self._fine = pl.lit(engine.ignore_delete, pl.Boolean) & self.retract
        self.deleted = self._whole_delete()

    # --- the record against the row -------------------------------------------------------------

    def base(self, name: str) -> pl.Expr:
        """The row before the record's own changes."""
        return pl.when(self._init).then(new_name(name)).otherwise(pl.col(name))

    def _age(self, group: int) -> tuple[pl.Expr, pl.Expr]:
        """(the group speaks at all, it is not older than the row), nulls smallest."""
        names = [n for n in self._engine.groups[group].sequence if n in self._types]
        if not names:
            return pl.lit(value=False), pl.lit(value=False)
        speaks = pl.any_horizontal([pl.col(new_name(n)).is_not_null() for n in names])
        news: pl.Expr = pl.lit(value=True)
        for name in reversed(names):
            new = comparable(pl.col(new_name(name)), self._types[name])
            old = comparable(self.base(name), self._types[name])
            above = old.is_null() & new.is_not_null() | (new > old).fill_null(value=False)
            news = above | (new.eq_missing(old) & news)
        return speaks, news

    def _whole_delete(self) -> pl.Expr:
        if self._engine.ignore_delete:
            return pl.lit(value=False)
        if self._engine.remove_on_delete:
            return self._delete
        return self._removed_before(len(self._types))

    def _removed_before(self, place: int) -> pl.Expr:
        """Whether a sequence column before this place has removed the whole row.

        Columns are gone through in their order, and a function that cannot take values back is
        refused only if its turn comes.
        """
        names = list(self._types)
        removing = [
            speaks & news
            for group, (speaks, news) in zip(self._engine.groups, self._ages, strict=True)
            if group.removes and min(names.index(n) for n in group.sequence) < place
        ]
        return self._delete & reduce(lambda a, b: a | b, removing, pl.lit(value=False))

    # --- columns --------------------------------------------------------------------------------

    def column(self, column: ValueColumn) -> pl.Expr:
        """The column after the record."""
        base, new = self.base(column.name), pl.col(new_name(column.name))
        added, retracted = self._added(column, base, new), self._retracted(column, base, new)
        return (
            pl.when(self._fine)
            .then(base)
            .when(self.deleted)
            .then(new)
            .when(self.retract)
            .then(retracted)
            .otherwise(added)
        )

    def _added(self, column: ValueColumn, base: pl.Expr, new: pl.Expr) -> pl.Expr:
        function = column.function
        if column.group is None:
            if function is None:
                return pl.when(new.is_null()).then(base).otherwise(new)
            return self._term(column, function.add(base, new, self._flag(column)), ~self.retract)
        speaks, news = self._ages[column.group]
        if function is None:
            return pl.when(speaks & news).then(new).otherwise(base)
        adds = ~self.retract & speaks
        flag = self._flag(column)
        young = self._term(column, function.add(base, new, flag), adds & news)
        late = self._term(column, function.add_older(base, new, flag), adds & ~news)
        return pl.when(~speaks).then(base).when(news).then(young).otherwise(late)

    def _retracted(self, column: ValueColumn, base: pl.Expr, new: pl.Expr) -> pl.Expr:
        if column.group is None:
            return base
        speaks, news = self._ages[column.group]
        if column.name in self._engine.groups[column.group].sequence:
            return pl.when(speaks & news).then(new).otherwise(base)
        if column.function is None:
            return pl.when(~(speaks & news)).then(base)
        removed = self._removed_before(list(self._types).index(column.name))
        where = self.retract & ~self._fine & ~removed & speaks
        return self._retract_of(column, column.function, base, new, where)

    def _retract_of(
        self,
        column: ValueColumn,
        function: Function,
        base: pl.Expr,
        new: pl.Expr,
        where: pl.Expr,
    ) -> pl.Expr:
        term = function.retract(base, new)
        if term is None:
            self._checks.append(Check(where, "the function cannot take values back", column.name))
            return base
        return pl.when(where).then(self._term(column, term, where)).otherwise(base)

    def _term(self, column: ValueColumn, term: Term, where: pl.Expr) -> pl.Expr:
        if term.bad is not None:
            self._checks.append(Check(where & term.bad, term.why, column.name))
        return term.value

    def _flag(self, column: ValueColumn) -> pl.Expr | None:
        stateful = column.function is not None and column.function.stateful
        return pl.col(flag_name(column.name)) if stateful else None

    def flag(self, column: ValueColumn) -> pl.Expr:
        """The state of a function that takes the first value, after the record."""
        assert column.function is not None
        flag = pl.col(flag_name(column.name))
        new = pl.col(new_name(column.name))
        if column.group is None:
            return pl.when(self.retract).then(flag).otherwise(column.function.mark(new, flag))
        speaks, news = self._ages[column.group]
        young = column.function.mark(new, flag)
        # Added the other way round, the function is fed what was there.
        late = column.function.mark(self.base(column.name), flag)
        return pl.when(self.retract | ~speaks).then(flag).when(news).then(young).otherwise(late)

    # --- what must not be -----------------------------------------------------------------------

    def checks(self) -> list[Check]:
        """Illegal retracts and nulls; those of functions were found with the columns."""
        found = list(self._checks)
        groups, ignored = bool(self._engine.groups), self._engine.ignore_delete
        if not (groups or ignored or self._engine.remove_on_delete):
            found.append(Check(self.retract, NO_DELETES))
        for column in self._engine.columns:
            if column.type.nullable:
                continue
            null = pl.col(new_name(column.name)).is_null()
            found.append(Check((self._init | self.deleted) & null, NULL_REFUSED, column.name))
            if not groups:
                found.append(Check(~self.retract & null, NULL_REFUSED, column.name))
        return found
