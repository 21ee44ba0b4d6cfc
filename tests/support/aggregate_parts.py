"""What the models of aggregate functions are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from .canonical import ColumnType, Json

__all__ = [
    "Aggregator",
    "Fold",
    "IllegalMerge",
    "both",
    "order_key",
    "refuse",
    "stateless",
    "swapped",
]

Fold = Callable[[Json, Json], Json]


class IllegalMerge(Exception):
    """Input that the library's merge function refuses, or cannot compute with."""


@dataclass(frozen=True, slots=True)
class Aggregator:
    """One field's function: how it takes an input in, takes it back, or takes a late one in.

    ``add`` and ``late`` get the accumulator and the input; ``late`` is for an input that is older
    than the accumulator. ``reset`` begins another key.
    """

    add: Fold
    retract: Fold
    late: Fold
    reset: Callable[[], None]


def _nothing() -> None:
    return None


def refuse(held: Json, given: Json) -> Json:
    raise IllegalMerge("this function takes nothing back")


def swapped(add: Fold) -> Fold:
    return lambda held, given: add(given, held)


def stateless(add: Fold, retract: Fold = refuse) -> Aggregator:
    return Aggregator(add, retract, swapped(add), _nothing)


def both(fold: Fold) -> Fold:
    """Of two values, one null: the other one."""

    def folded(held: Json, given: Json) -> Json:
        if held is None or given is None:
            return given if held is None else held
        return fold(held, given)

    return folded


def order_key(kind: ColumnType, value: Json) -> tuple[object, ...]:
    """A sort key that orders present values of one type as Java does."""
    root = kind.root
    if root in ("FLOAT", "DOUBLE"):
        number = float(cast(str, value))
        # Not a number is the largest, and negative zero is below zero.
        return (number != number, 0.0 if number != number else number, str(value) != "-0.0")
    if root == "DECIMAL":
        return (Decimal(cast(str, value)),)
    if root in ("CHAR", "VARCHAR", "STRING"):
        return (str(value).encode(),)
    if root in ("BINARY", "VARBINARY", "BYTES"):
        return (bytes.fromhex(str(value)),)
    if root in ("TIMESTAMP", "TIMESTAMP_LTZ"):
        moment = cast("dict[str, int]", value)
        return (moment["ms"], moment["ns"])
    return (value,)  # integers, booleans, times; dates of four-digit years sort as text
