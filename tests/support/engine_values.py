"""Random values for the columns of engines' tables, by what the columns do.

Domains are small where values meet: keys of maps, times, elements, whatever orders records.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from .canonical import ColumnType, Json, float_text, parse_type
from .engine_model import Rules
from .nested_model import bitmap_bytes
from .shapes import INTEGER_BITS, random_value, sequence_value

__all__ = ["column_value", "order_value", "order_values"]

_LIST_TOKENS = ("a", "b", "c", "a,b", "b,,a", "a;c", "\u00a0", "é,a")
_BLANKS = ("", " ", "\u2003")
_DOUBLES = (0.0, -0.0, 0.5, 1.0, -2.0, 4.0, 0.25)
_NESTED = (
    *("collect", "merge_map", "merge_map_with_keytime"),
    *("nested_update", "nested_partial_update"),
)


def column_value(
    rng: random.Random,
    rules: Rules,
    position: int,
    *,
    wild: bool = False,
    tame: bool = False,
    undoable: bool = False,
) -> Json:
    """A value for a column, never null; ``wild`` ones may overflow or have no quotient.

    A ``tame`` one is what merging it alone would make of it: no blank text, no element twice, no
    null in it. Of ``undoable`` integers no product is zero, however often they are taken back.
    Values of columns that order records are few, so that they are often late and often equal.
    """
    text = rules.columns[rules.names[position]]
    if position in rules.sequence or position in rules.groups.get(position, ()):
        return order_value(text, rng.randrange(-3, 4))
    function = rules.function(position) if rules.folds else None
    if function == "listagg":
        return rng.choice(_LIST_TOKENS if tame else [*_LIST_TOKENS, *_BLANKS])
    if function in _NESTED:
        made = _few(rng, parse_type(text), tame=tame)
        # The library fails where it has to tell a null from a row.
        rows_only = function == "collect" and "ROW" in text and not wild
        return [element for element in made if element is not None] if rows_only else made
    if function == "rbm32":
        return bitmap_bytes({rng.randrange(9) * 7 + high for high in (0, 1 << 20)})
    if function in ("sum", "product") and not (wild and rng.random() < 0.2):
        if undoable and function == "product" and parse_type(text).root in INTEGER_BITS:
            return rng.choice([1, 1, -1])
        return _summand(rng, text, powers=function == "product")
    return random_value(rng, text)


def _few(rng: random.Random, kind: ColumnType, *, tame: bool) -> Any:
    """A value out of few, with parts out of few."""
    if kind.root == "ARRAY":
        (element,) = kind.inner
        if tame:
            return _distinct(rng, element)
        nulls = 0.1 if element.nullable else 0.0
        return [
            None if rng.random() < nulls else _few(rng, element, tame=False)
            for _ in range(rng.randrange(4))
        ]
    if kind.root == "MAP":
        key, value = kind.inner
        keys = dict.fromkeys(_few(rng, key, tame=tame) for _ in range(rng.randrange(4)))
        return {"map": [[k, _part(rng, value, tame=tame)] for k in keys]}
    if kind.root == "ROW":
        return {"row": [_part(rng, part, tame=tame) for part in kind.inner]}
    number = rng.randrange(4)
    if kind.root == "STRING":
        return "abcd"[number]
    return f"{number}.00" if kind.root == "DECIMAL" else number


def _part(rng: random.Random, kind: ColumnType, *, tame: bool) -> Any:
    null = not tame and kind.nullable and rng.random() < 0.2
    return None if null else _few(rng, kind, tame=tame)


def _distinct(rng: random.Random, element: ColumnType) -> list[Any]:
    """At most three elements, of which no two begin alike."""
    found: dict[Any, Any] = {}
    for _ in range(rng.randrange(4)):
        made = _few(rng, element, tame=True)
        found.setdefault(made["row"][0] if isinstance(made, dict) else made, made)
    return list(found.values())


def order_values(
    types: Sequence[str], number: int, *, descending: bool = False, nulls: bool = True
) -> list[Json]:
    """Values of one or two columns that order as the number does.

    With ``nulls`` the second one may be null, which is smallest in both directions.
    """
    sign = -1 if descending else 1
    if len(types) == 1:
        return [order_value(types[0], sign * number)]
    high, low = divmod(number, 3)
    second = None if nulls and low == 0 else order_value(types[1], sign * low)
    return [order_value(types[0], sign * high), second]


def order_value(type_text: str, number: int) -> Json:
    """The value of an ordering column that stands for a number of at most five digits."""
    if parse_type(type_text).root == "STRING":
        return f"{number + 50_000:06d}"
    return sequence_value(type_text, number)


def _summand(rng: random.Random, type_text: str, *, powers: bool) -> Json:
    """A small number; powers of two where it may have to be divided by."""
    kind = parse_type(type_text)
    tiny = kind.root == "TINYINT"  # many of them must not overflow
    number = rng.choice([1, 1, -1] if tiny else [1, 1, 1, 2, -1])
    if not powers:
        number = rng.randrange(-3, 4) if tiny else rng.randrange(-9, 10)
    if kind.root in INTEGER_BITS:
        return number
    if kind.root == "DECIMAL":
        return f"{number}.{'0' * kind.scale}" if kind.scale else str(number)
    return float_text(float(number) if powers else rng.choice(_DOUBLES))
