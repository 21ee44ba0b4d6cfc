"""Aggregate functions as plain Python folds over values in the canonical encoding.

This is the independent statement of the merge rules that product code and Java are held to: one
value at a time, by the reference's table of functions, with no thought of speed.
"""

from __future__ import annotations

import ctypes
import operator
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, localcontext
from typing import Any, cast

from .canonical import Json, ScalarType, float_text, parse_type
from .shapes import INTEGER_BITS

__all__ = ["Aggregator", "IllegalMerge", "aggregator", "order_key"]

Fold = Callable[[Json, Json], Json]

_EXACT = Context(prec=200, traps=[Inexact])
_ROUNDING = Context(prec=200)
_JAVA_SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f"
_NO_BREAK = "\u00a0\u2007\u202f"


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


def aggregator(field: str, type_text: str, name: str, options: Mapping[str, str]) -> Aggregator:
    """The function of that name for a column; ValueError when there is none."""
    made = _make(field, type_text, name, options)
    if options.get(f"fields.{field}.ignore-retract") == "true":
        # The wrapper hides everything but add and reset of what it wraps.
        return Aggregator(made.add, _keep, _swapped(made.add), made.reset)
    return made


def _make(field: str, type_text: str, name: str, options: Mapping[str, str]) -> Aggregator:
    kind = parse_type(type_text)
    if name in ("first_value", "first_non_null_value", "first_not_null_value"):
        return _first(skip_null=name != "first_value")
    if name == "listagg":
        delimiter = options.get(f"fields.{field}.list-agg-delimiter", ",")
        distinct = options.get(f"fields.{field}.distinct") == "true"
        return _stateless(_listagg(delimiter, distinct=distinct))
    if name == "sum":
        add, subtract = _arithmetic(kind, operator.add), _arithmetic(kind, operator.sub)
        return _stateless(_both(add), _sum_retract(kind, subtract))
    if name == "product":
        times, divide = _arithmetic(kind, operator.mul), _arithmetic(kind, _divide)
        return _stateless(_both(times), _when_both(divide))
    plain: dict[str, Aggregator] = {
        "primary-key": _stateless(_take, _take),
        "last_value": _stateless(_take, _null),
        "last_non_null_value": _stateless(_take_present, _null_if_given),
        "max": _stateless(_both(_maximum(kind))),
        "min": _stateless(_both(_minimum(kind))),
        "bool_and": _stateless(_both(lambda held, given: bool(held) and bool(given))),
        "bool_or": _stateless(_both(lambda held, given: bool(held) or bool(given))),
    }
    if name not in plain:
        raise ValueError(f"no aggregate function {name}")
    return plain[name]


# --- building blocks ----------------------------------------------------------------------------


def _nothing() -> None:
    return None


def _refuse(held: Json, given: Json) -> Json:
    raise IllegalMerge("this function takes nothing back")


def _swapped(add: Fold) -> Fold:
    return lambda held, given: add(given, held)


def _stateless(add: Fold, retract: Fold = _refuse) -> Aggregator:
    return Aggregator(add, retract, _swapped(add), _nothing)


def _both(fold: Fold) -> Fold:
    """Of two values, one null: the other one."""

    def folded(held: Json, given: Json) -> Json:
        if held is None or given is None:
            return given if held is None else held
        return fold(held, given)

    return folded


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

    return Aggregator(add, _refuse, _swapped(add), reset)


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


def order_key(kind: ScalarType, value: Json) -> tuple[object, ...]:
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


def _compared(kind: ScalarType, held: Json, given: Json) -> int:
    if kind.root == "BOOLEAN":
        raise IllegalMerge("booleans are not compared")
    left, right = order_key(kind, held), order_key(kind, given)
    return (left > right) - (left < right)


def _maximum(kind: ScalarType) -> Fold:
    return lambda held, given: given if _compared(kind, held, given) < 0 else held


def _minimum(kind: ScalarType) -> Fold:
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


def _arithmetic(kind: ScalarType, operation: Operation) -> Fold:
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


def _decimal(kind: ScalarType, operation: Operation, held: Json, given: Json) -> Json:
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


def _sum_retract(kind: ScalarType, subtract: Fold) -> Fold:
    zeros: dict[str, Json] = {"FLOAT": "-0.0", "DOUBLE": "-0.0", "DECIMAL": "0"}
    zero = zeros.get(kind.root, 0)

    def retract(held: Json, given: Json) -> Json:
        if given is None:
            return held
        # Minus zero less x is minus x for every x, which plus zero is not.
        return subtract(zero if held is None else held, given)

    return retract
