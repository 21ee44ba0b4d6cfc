"""Aggregate functions as plain Python folds over values in the canonical encoding.

This is the independent statement of the merge rules that product code and Java are held to: one
value at a time, by the reference's table of functions, with no thought of speed.
"""

from __future__ import annotations

import ctypes
import operator
import unicodedata
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, localcontext
from typing import Any, cast

from .aggregate_parts import (
    Aggregator,
    Fold,
    IllegalMerge,
    both,
    order_key,
    refuse,
    stateless,
    swapped,
)
from .canonical import ColumnType, Json, float_text, parse_type
from .nested_model import NESTED_FUNCTIONS, nested_aggregator
from .shapes import INTEGER_BITS

__all__ = ["Aggregator", "IllegalMerge", "aggregator", "order_key"]

_EXACT = Context(prec=200, traps=[Inexact])
_ROUNDING = Context(prec=200)
_JAVA_SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f"
_NO_BREAK = "\u00a0\u2007\u202f"


def aggregator(field: str, type_text: str, name: str, options: Mapping[str, str]) -> Aggregator:
    """The function of that name for a column; ValueError when there is none."""
    made = _make(field, type_text, name, options)
    if options.get(f"fields.{field}.ignore-retract") == "true":
        # The wrapper hides everything but add and reset of what it wraps.
        return Aggregator(made.add, _keep, swapped(made.add), made.reset)
    return made


def _make(field: str, type_text: str, name: str, options: Mapping[str, str]) -> Aggregator:
    kind = parse_type(type_text)
    if name in NESTED_FUNCTIONS:
        return nested_aggregator(field, kind, name, options)
    if name in ("first_value", "first_non_null_value", "first_not_null_value"):
        return _first(skip_null=name != "first_value")
    if name == "listagg":
        delimiter = options.get(f"fields.{field}.list-agg-delimiter", ",")
        distinct = options.get(f"fields.{field}.distinct") == "true"
        return stateless(_listagg(delimiter, distinct=distinct))
    if name == "sum":
        add, subtract = _arithmetic(kind, operator.add), _arithmetic(kind, operator.sub)
        return stateless(both(add), _sum_retract(kind, subtract))
    if name == "product":
        times, divide = _arithmetic(kind, operator.mul), _arithmetic(kind, _divide)
        return stateless(both(times), _when_both(divide))
    plain: dict[str, Aggregator] = {
        "primary-key": stateless(_take, _take),
        "last_value": stateless(_take, _null),
        "last_non_null_value": stateless(_take_present, _null_if_given),
        "max": stateless(both(_maximum(kind))),
        "min": stateless(both(_minimum(kind))),
        "bool_and": stateless(both(lambda held, given: bool(held) and bool(given))),
        "bool_or": stateless(both(lambda held, given: bool(held) or bool(given))),
    }
    if name not in plain:
        raise ValueError(f"no aggregate function {name}")
    return plain[name]


# --- building blocks ----------------------------------------------------------------------------


def _when_both(fold: Fold) -> Fold:
    """The accumulator, unless both values are there."""
    return lambda held, given: held if held is None or given is None else fold(held, given)


def _keep(held: Json, given: Json) -> Json:
    return held


def _take(held: Json, given: Json) -> Json:
    return given


def _null(held: Json, given: Json) -> Json:
    return None


def _take_present(held: Json, given: Json) -> Json:
    return held if given is None else given


def _null_if_given(held: Json, given: Json) -> Json:
    return held if given is None else None


def _first(*, skip_null: bool) -> Aggregator:
    begun = [False]

    def add(held: Json, given: Json) -> Json:
        if begun[0] or (skip_null and given is None):
            return held
        begun[0] = True
        return given

    def reset() -> None:
        begun[0] = False

    return Aggregator(add, refuse, swapped(add), reset)


# --- text ---------------------------------------------------------------------------------------


def _is_blank(text: str) -> bool:
    """Whether Java counts every character as white space; a no-break space is none."""
    return all(
        char in _JAVA_SPACES or (unicodedata.category(char)[0] == "Z" and char not in _NO_BREAK)
        for char in text
    )


def _listagg(delimiter: str, *, distinct: bool) -> Fold:
    def joined(held: Json, given: Json) -> Json:
        if given is None or _is_blank(str(given)):
            return held
        if held is None or _is_blank(str(held)):
            return given
        if not distinct:
            return f"{held}{delimiter}{given}"
        tokens = set(str(held).split(delimiter))
        text = str(held)
        for token in str(given).split(delimiter):
            if not _is_blank(token) and token not in tokens:
                tokens.add(token)
                text += delimiter + token
        return text

    return joined


# --- order --------------------------------------------------------------------------------------


def _compared(kind: ColumnType, held: Json, given: Json) -> int:
    if kind.root == "BOOLEAN":
        raise IllegalMerge("booleans are not compared")
    left, right = order_key(kind, held), order_key(kind, given)
    return (left > right) - (left < right)


def _maximum(kind: ColumnType) -> Fold:
    return lambda held, given: given if _compared(kind, held, given) < 0 else held


def _minimum(kind: ColumnType) -> Fold:
    return lambda held, given: held if _compared(kind, held, given) < 0 else given


# --- arithmetic ---------------------------------------------------------------------------------

Operation = Callable[[Any, Any], Any]
"""On two ints, two floats or two Decimals."""


def _divide(left: Any, right: Any) -> Any:
    if isinstance(left, float):
        return _divide_floats(left, float(right))
    if right == 0:
        raise IllegalMerge("division by zero")
    if isinstance(left, Decimal):
        try:
            return left / right
        except Inexact as error:
            raise IllegalMerge("the quotient has no end") from error
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _divide_floats(left: float, right: float) -> float:
    if right != 0:
        return left / right
    if left == 0 or left != left:
        return float("nan")
    same = (str(left)[0] == "-") == (str(right)[0] == "-")
    return float("inf") if same else float("-inf")


def _arithmetic(kind: ColumnType, operation: Operation) -> Fold:
    """The operation on wire values of a numeric type, with that type's overflow."""
    root = kind.root
    if root in INTEGER_BITS:
        limit = 1 << (INTEGER_BITS[root] - 1)

        def integers(held: Json, given: Json) -> Json:
            result = operation(cast(int, held), cast(int, given))
            if not -limit <= result < limit:
                raise IllegalMerge(f"{root} overflow")
            return int(result)

        return integers
    if root == "DECIMAL":
        return lambda held, given: _decimal(kind, operation, held, given)
    if root not in ("FLOAT", "DOUBLE"):
        raise ValueError(f"no arithmetic on {root}")

    def floats(held: Json, given: Json) -> Json:
        result = float(operation(float(cast(str, held)), float(cast(str, given))))
        return float_text(ctypes.c_float(result).value if root == "FLOAT" else result)

    return floats


def _decimal(kind: ColumnType, operation: Operation, held: Json, given: Json) -> Json:
    with localcontext(_EXACT):
        exact = operation(Decimal(cast(str, held)), Decimal(cast(str, given)))
        # Rounding is no error, but a quotient that had to be rounded before is one.
        result = exact.quantize(Decimal(1).scaleb(-kind.scale), ROUND_HALF_UP, _ROUNDING)
        unscaled = abs(int(result.scaleb(kind.scale)))
    # Short sums are sums of longs, which nobody holds against the precision.
    short = kind.precision <= 18 and operation in (operator.add, operator.sub)
    unchecked = short and unscaled < 1 << 63
    if unscaled >= 10**kind.precision and not unchecked:
        return None
    return f"{abs(result) if result == 0 else result:f}"


def _sum_retract(kind: ColumnType, subtract: Fold) -> Fold:
    zeros: dict[str, Json] = {"FLOAT": "-0.0", "DOUBLE": "-0.0", "DECIMAL": "0"}
    zero = zeros.get(kind.root, 0)

    def retract(held: Json, given: Json) -> Json:
        if given is None:
            return held
        # Minus zero less x is minus x for every x, which plus zero is not.
        return subtract(zero if held is None else held, given)

    return retract
