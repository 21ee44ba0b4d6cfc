"""What pypaimon 2.1.0 cannot do with tables of merge engines, as data with reasons.

Found by trying. What its code does not know it refuses by name; what it reads otherwise than Java,
it reads without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from .engines import Cell
from .shapes import Shape

__all__ = [
    "can_ever_read",
    "limits",
    "takes_retracts",
    "why_pypaimon_cannot_read",
    "why_pypaimon_cannot_read_rows",
]

_REFUSED_KEYS: Mapping[str, Mapping[str, str]] = {
    "partial-update": {
        r"(partial-update\.)?ignore-delete": "it skips no deletes",
        r"partial-update\.remove-record-on-.*": "it removes no rows",
        r"fields\..*\.sequence-group": "it knows no sequence groups",
        r"fields\..*aggregate-function": "it aggregates no fields there",
    },
    "aggregation": {
        r"aggregation\.remove-record-on-delete": "it removes no rows",
        r"fields\..*\.ignore-retract": "it takes no retracts",
    },
}
_REFUSED_VALUES: Mapping[str, str] = {
    "first_not_null_value": "it knows this function by its other name only",
    "rbm64": "it has no such function",
    "merge_map": "it cannot hand out merged maps beside others",
    "merge_map_with_keytime": "it cannot hand out merged maps beside others",
}
_REFUSED_OPTIONS: Mapping[tuple[str, str], str] = {
    ("deletion-vectors.bitmap64", "true"): "it knows vectors of 32 bits only",
}
_MISREAD_TYPES: Mapping[str, str] = {
    r"TIMESTAMP\([789]\)": "its merge cuts nanoseconds off",
    r"MULTISET": "it writes no such type",
    r"<.*NOT NULL.*>": "it writes no null around a part that takes none",
}
_MISREAD_FUNCTIONS: Mapping[tuple[str, str], str] = {
    ("listagg", "STRING"): "it takes a no-break space for blank",
    ("max", "FLOAT"): "it passes over NaN",
    ("max", "DOUBLE"): "it passes over NaN",
    ("min", "FLOAT"): "it passes over NaN",
    ("min", "DOUBLE"): "it passes over NaN",
}


def why_pypaimon_cannot_read(cell: Cell, shape: Shape) -> str | None:
    """None where pypaimon reads such a table as Java does, in any state of its files.

    Where it `takes_retracts` not, there must be none in the table's files either.
    """
    found = [*_options(cell, shape), *_types(shape)]
    if _adds_up_levels(cell) and not _compacted_only(cell, shape):
        found.append("it adds up the records of several levels, of which one stands for all")
    return found[0] if found else None


def why_pypaimon_cannot_read_rows(options: Mapping[str, str]) -> str | None:
    """The same for an append table of these options."""
    found = [
        f"{key}={value}: {reason}"
        for (key, value), reason in _REFUSED_OPTIONS.items()
        if options.get(key) == value
    ]
    return found[0] if found else None


def can_ever_read(cell: Cell) -> bool:
    """Whether there are tables of this row that pypaimon reads as Java does."""
    return cell.vectors or not _adds_up_levels(cell)


def limits() -> list[tuple[str, str]]:
    """All of this as text: what is left out of pypaimon's histories, and why."""
    found = [
        (f"`{engine}`: `{pattern}`", reason)
        for engine, refused in _REFUSED_KEYS.items()
        for pattern, reason in refused.items()
    ]
    found += [(f"`{value}`", reason) for value, reason in _REFUSED_VALUES.items()]
    found += [(f"`{key}={value}`", reason) for (key, value), reason in _REFUSED_OPTIONS.items()]
    found += [
        (f"`{function}` of {kind}", why) for (function, kind), why in _MISREAD_FUNCTIONS.items()
    ]
    found += [(f"columns of type `{pattern}`", why) for pattern, why in _MISREAD_TYPES.items()]
    return [(what.replace("|", "\\|"), why) for what, why in found]


def _adds_up_levels(cell: Cell) -> bool:
    return cell.engine == "aggregation" and cell.looks_up


def takes_retracts(cell: Cell) -> bool:
    """Whether pypaimon merges -U and -D records."""
    return cell.engine != "aggregation"


def _compacted_only(cell: Cell, shape: Shape) -> bool:
    """Whether batch reads merge nothing at all."""
    merges = shape.options.get("deletion-vectors.merge-on-read") == "true"
    return cell.vectors and not merges


def _options(cell: Cell, shape: Shape) -> list[str]:
    refused = _REFUSED_KEYS.get(cell.engine, {})
    found = [
        f"{key}: {reason}"
        for key in shape.options
        for pattern, reason in refused.items()
        if re.fullmatch(pattern, key)
    ]
    for key, value in shape.options.items():
        reason = _REFUSED_VALUES.get(value) or _REFUSED_OPTIONS.get((key, value))
        if reason is not None:
            found.append(f"{key}={value}: {reason}")
    return found


def _types(shape: Shape) -> list[str]:
    found: list[str] = []
    for name, text in shape.columns.items():
        function = shape.options.get(f"fields.{name}.aggregate-function", "")
        reason = _MISREAD_FUNCTIONS.get((function, text))
        if reason is not None:
            found.append(f"{function} of {text}: {reason}")
        found += [
            f"{text}: {reason}"
            for pattern, reason in _MISREAD_TYPES.items()
            if re.search(pattern, text)
        ]
    return found
