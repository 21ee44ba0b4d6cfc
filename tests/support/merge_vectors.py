"""Worked examples of merging: a table's options, the records of one key, what is left.

For unit tests of merge functions that have no peer at hand; `tests/interop/test_merge_vectors.py`
holds each one against the library and the plain model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .canonical import Json
from .engine_model import Record, Rules
from .nested_model import bitmap_bytes

__all__ = ["VECTORS", "Vector"]

_R = "ARRAY<ROW<a INT, b STRING>>"
_TIMED = "MAP<STRING, ROW<v INT, t STRING>>"

Written = tuple[Json, ...]
"""A row kind and values behind it; the key column is left out."""


@dataclass(frozen=True, slots=True)
class Vector:
    """One example: ``written`` in feed order, numbered from 0; ``left`` is the merged record.

    ``sequence`` is the number that the merged record carries.
    """

    name: str
    rules: Rules
    written: Sequence[Written]
    left: Written | None
    sequence: int

    @property
    def records(self) -> list[Record]:
        return [Record(str(w[0]), i, (1, *w[1:])) for i, w in enumerate(self.written)]

    @property
    def result(self) -> Record | None:
        if self.left is None:
            return None
        return Record(str(self.left[0]), self.sequence, (1, *self.left[1:]))


def _family(
    engine: str,
    columns: Mapping[str, str] | str,
    options: Mapping[str, str],
    cases: Mapping[str, tuple[Sequence[Written], Written | None]],
    *,
    sequences: Mapping[str, int] | None = None,
) -> list[Vector]:
    """Examples of one table; columns given by their names alone are of type INT."""
    if isinstance(columns, str):
        columns = dict.fromkeys(columns.split(), "INT")
    rules = Rules({"k": "INT NOT NULL", **columns}, ("k",), {"merge-engine": engine, **options})
    last = sequences or {}
    return [
        Vector(name, rules, written, left, last.get(name, len(written) - 1))
        for name, (written, left) in cases.items()
    ]


def _column(function: str, type_text: str, **more: str) -> tuple[Mapping[str, str], dict[str, str]]:
    options = {"fields.v.aggregate-function": function}
    options |= {f"fields.v.{key.replace('_', '-')}": value for key, value in more.items()}
    return {"v": type_text}, options


def _row(*values: Json) -> Json:
    return {"row": list(values)}


def _map(**entries: Json) -> Json:
    return {"map": [[key, value] for key, value in entries.items()]}


_GROUP = {"fields.g.sequence-group": "b"}
_SUM_GROUP = {"fields.g.sequence-group": "b", "fields.b.aggregate-function": "sum"}
_REMOVE = {"partial-update.remove-record-on-delete": "true"}
_TWO_GROUPS = {
    "fields.g.sequence-group": "a,b",
    "fields.h.sequence-group": "c",
    "partial-update.remove-record-on-sequence-group": "g",
}
_LATE = {
    "fields.g.sequence-group": "n,t,f,c",
    "fields.n.aggregate-function": "sum",
    "fields.t.aggregate-function": "listagg",
    "fields.f.aggregate-function": "first_value",
    "fields.c.aggregate-function": "collect",
}
_LATE_TYPES = {"n": "INT", "t": "STRING", "f": "INT", "c": "ARRAY<INT>", "g": "INT"}

# fmt: off
VECTORS: Sequence[Vector] = (
    *_family("deduplicate", "a", {}, {
        "dedup-last": ([("+I", 1), ("+U", 2)], ("+U", 2)),
        "dedup-delete": ([("+I", 1), ("-D", 2)], ("-D", 2)),
    }),
    *_family("deduplicate", "a", {"ignore-delete": "true"}, {
        "dedup-ignores": ([("+I", 1), ("-D", 2)], ("+I", 1)),
        "dedup-ignores-all": ([("-D", 1), ("-U", 2)], None),
    }, sequences={"dedup-ignores": 0}),
    *_family("first-row", "a", {}, {
        "first": ([("+U", 1), ("+I", 2)], ("+U", 1)),
    }, sequences={"first": 0}),
    *_family("partial-update", "a b g", _GROUP, {
        "group-late": ([("+I", 1, 10, 5), ("+I", None, 20, 4)], ("+I", 1, 10, 5)),
        "group-tie": ([("+I", 1, 10, 5), ("+I", 2, None, 5)], ("+I", 2, None, 5)),
        "group-null": ([("+I", 1, 10, 5), ("+I", 2, 99, None)], ("+I", 2, 10, 5)),
        "group-delete": ([("+I", 1, 10, 5), ("-D", 9, 9, 6)], ("+I", 1, None, 6)),
        "group-delete-first": ([("-D", 9, 9, 6), ("+I", 1, None, 5)], ("+I", 1, None, 6)),
        "group-deletes": ([("-D", 9, 9, 6), ("-D", 8, 8, 7)], ("-D", 9, None, 7)),
        "group-late-delete": ([("+I", 1, 10, 5), ("-D", 9, 9, 4)], ("+I", 1, 10, 5)),
        "group-null-delete": ([("+I", 1, 10, 5), ("-D", 9, 9, None)], ("+I", 1, 10, 5)),
    }),
    *_family("partial-update", "a b", {}, {
        "overlay": ([("+I", 1, None), ("+U", None, 2)], ("+I", 1, 2)),
    }),
    *_family("partial-update", "a b", _REMOVE, {
        "removed-then-added": ([("+I", 1, 10), ("-D", 7, 8), ("+I", None, 20)], ("+I", 7, 20)),
        "removed": ([("+I", 1, 10), ("-D", 7, 8)], ("-D", 7, 8)),
        "before-is-first": ([("-U", 7, 7), ("+I", 1, None)], ("+I", 1, 7)),
        "before-is-ignored": ([("+I", 1, 10), ("-U", 7, 8)], ("+I", 1, 10)),
    }),
    *_family("partial-update", "b g", _SUM_GROUP, {
        "sum-late-delete": ([("+I", 1, 5), ("-D", 10, 4)], ("+I", -9, 5)),
        "sum-delete-first": ([("-D", 3, 5), ("+I", 1, 6)], ("+I", 1, 6)),
    }),
    *_family("partial-update", "a g1 g2", {"fields.g1,g2.sequence-group": "a"}, {
        "pair-null": ([("+I", 1, 5, 5), ("+I", 2, 5, None)], ("+I", 1, 5, 5)),
        "pair-null-first": ([("+I", 1, 5, 5), ("+I", 2, None, 9)], ("+I", 1, 5, 5)),
        "pair-newer": ([("+I", 1, 5, 5), ("+I", 2, 5, 6)], ("+I", 2, 5, 6)),
    }),
    *_family("partial-update", "a b g c h", _TWO_GROUPS, {
        "whole-row": (
            [("+I", 1, 10, 5, 100, 1), ("-D", 7, 8, 6, 9, 2), ("+I", 3, None, 7, None, None)],
            ("+I", 3, None, 7, 9, 2),
        ),
        "no-whole-row-before": (
            [("+I", 1, 10, 5, 100, 1), ("-U", 7, 8, 6, 9, 2)], ("+I", None, None, 6, None, 2),
        ),
    }),
    *_family("partial-update", _LATE_TYPES, _LATE, {
        "aggregates-late": (
            [("+I", 1, "x", 5, [1, 2], 9), ("+I", 10, "y", 7, [3], 3)],
            ("+I", 11, "y,x", 7, [1, 2, 3], 9),
        ),
    }),
    *_family("aggregation", *_column("sum", "INT"), {
        "sum-null": ([("+I", None), ("+I", 3), ("+I", None)], ("+I", 3)),
        "sum-retract": ([("+I", 5), ("-U", 2), ("+U", 4)], ("+I", 7)),
        "sum-retract-first": ([("-D", 3), ("+I", 1)], ("+I", -2)),
    }),
    *_family("aggregation", *_column("sum", "DECIMAL(3, 0)"), {
        "sum-too-long": ([("+I", "999"), ("+I", "1")], ("+I", "1000")),
    }),
    *_family("aggregation", *_column("product", "DECIMAL(5, 2)"), {
        "product-overflow": ([("+I", "999.99"), ("+I", "999.99")], ("+I", None)),
        "product-rounds": ([("+I", "0.15"), ("+I", "0.10")], ("+I", "0.02")),
        "product-retract": ([("+I", "3.00"), ("-D", "2.00")], ("+I", "1.50")),
        "product-null": ([("+I", None), ("-D", "2.00")], ("+I", None)),
    }),
    *_family("aggregation", *_column("last_value", "INT"), {
        "last-null": ([("+I", 1), ("+I", None)], ("+I", None)),
        "last-retract": ([("+I", 1), ("-D", 1)], ("+I", None)),
    }),
    *_family("aggregation", *_column("last_non_null_value", "INT"), {
        "last-present": ([("+I", 1), ("+I", None)], ("+I", 1)),
        "last-present-retract-null": ([("+I", 1), ("-D", None)], ("+I", 1)),
    }),
    *_family("aggregation", *_column("first_value", "INT"), {
        "first-null": ([("+I", None), ("+I", 1)], ("+I", None)),
    }),
    *_family("aggregation", *_column("first_non_null_value", "INT", ignore_retract="true"), {
        "first-present": ([("+I", None), ("+I", 1), ("+I", 2), ("-D", 1)], ("+I", 1)),
    }),
    *_family("aggregation", *_column("max", "DOUBLE"), {
        "max-nan": ([("+I", "NaN"), ("+I", "Infinity")], ("+I", "NaN")),
        "max-zero": ([("+I", "0.0"), ("+I", "-0.0")], ("+I", "0.0")),
    }),
    *_family("aggregation", *_column("min", "STRING"), {
        "min-bytes": ([("+I", "😀"), ("+I", "\uffae")], ("+I", "\uffae")),
    }),
    *_family("aggregation", *_column("listagg", "STRING", list_agg_delimiter=";"), {
        "list-blank": ([("+I", " "), ("+I", "a"), ("+I", ""), ("+I", "b")], ("+I", "a;b")),
    }),
    *_family("aggregation", *_column("listagg", "STRING", distinct="true"), {
        "list-distinct": ([("+I", "b,a,b"), ("+I", "a,c,,c")], ("+I", "b,a,b,c")),
    }),
    *_family("aggregation", *_column("bool_and", "BOOLEAN"), {
        "and": ([("+I", True), ("+I", None), ("+I", False)], ("+I", False)),
    }),
    *_family("aggregation", *_column("bool_or", "BOOLEAN"), {
        "or": ([("+I", False), ("+I", None), ("+I", True)], ("+I", True)),
    }),
    *_family("aggregation", *_column("collect", "ARRAY<INT>"), {
        "collected": ([("+I", [1, 2]), ("+I", None), ("+I", [2])], ("+I", [1, 2, 2])),
        "collect-retract": ([("+I", [2, 1, 2]), ("-D", [2, 3])], ("+I", [1, 2])),
        "collect-retract-first": ([("-D", [2]), ("+I", [1])], ("+I", [1])),
    }),
    *_family("aggregation", *_column("collect", _R, distinct="true"), {
        "collect-distinct": (
            [("+I", [_row(1, "x"), _row(1, "x")]), ("+I", [_row(1, "x"), _row(2, None)])],
            ("+I", [_row(1, "x"), _row(2, None)]),
        ),
    }),
    *_family("aggregation", *_column("merge_map", "MAP<STRING, INT>"), {
        "map-merged": ([("+I", _map(a=1, b=2)), ("+I", _map(b=3))], ("+I", _map(a=1, b=3))),
        "map-retract": ([("+I", _map(a=1, b=2)), ("-D", _map(a=9))], ("+I", _map(b=2))),
    }),
    *_family("aggregation", *_column("merge_map_with_keytime", _TIMED), {
        "timed-older": (
            [("+I", _map(a=_row(1, "5"))), ("+I", _map(a=_row(2, "4"), b=_row(3, "1")))],
            ("+I", _map(a=_row(1, "5"), b=_row(3, "1"))),
        ),
        "timed-equal": (
            [("+I", _map(a=_row(1, "5"))), ("+I", _map(a=_row(2, "5")))],
            ("+I", _map(a=_row(1, "5"))),
        ),
        "timed-text": (
            [("+I", _map(a=_row(1, "10"))), ("+I", _map(a=_row(2, "9")))],
            ("+I", _map(a=_row(2, "9"))),
        ),
        "timed-removed": (
            [("+I", _map(a=_row(1, "5"), b=_row(1, "5"))), ("+I", _map(a=None))],
            ("+I", _map(b=_row(1, "5"))),
        ),
    }),
    *_family("aggregation", *_column("nested_update", _R, count_limit="3"), {
        "rows-limited": (
            [("+I", [_row(1, "x"), _row(2, "y")]), ("+I", [_row(3, "z"), _row(4, "z")])],
            ("+I", [_row(1, "x"), _row(2, "y"), _row(3, "z")]),
        ),
        "rows-retract": (
            [("+I", [_row(1, "x"), _row(1, "x"), _row(2, "y")]), ("-D", [_row(1, "x")])],
            ("+I", [_row(2, "y")]),
        ),
    }),
    *_family("aggregation", *_column("nested_update", _R, nested_key="a"), {
        "rows-by-key": ([("+I", [_row(1, "x")]), ("+I", [_row(1, "y")])], ("+I", [_row(1, "y")])),
        "rows-by-key-retract": (
            [("+I", [_row(1, "x"), _row(2, "y")]), ("-D", [_row(2, "q")])], ("+I", [_row(1, "x")]),
        ),
    }),
    *_family("aggregation", *_column(
        "nested_update", _R, nested_key="a", nested_sequence_field="b"
    ), {
        "rows-older": ([("+I", [_row(1, "y")]), ("+I", [_row(1, "x")])], ("+I", [_row(1, "y")])),
    }),
    *_family("aggregation", *_column("nested_partial_update", _R, nested_key="a"), {
        "rows-overlaid": (
            [("+I", [_row(1, "x")]), ("+I", [_row(1, None)])], ("+I", [_row(1, "x")]),
        ),
    }),
    *_family("aggregation", *_column("rbm32", "BYTES"), {
        "bitmaps": (
            [("+I", bitmap_bytes({1, 7})), ("+I", bitmap_bytes({7, 1 << 20}))],
            ("+I", bitmap_bytes({1, 7, 1 << 20})),
        ),
    }),
    *_family(
        "aggregation", {"v": "INT", "f": "INT"},
        {
            "aggregation.remove-record-on-delete": "true",
            "fields.v.aggregate-function": "sum",
            "fields.f.aggregate-function": "first_value",
        },
        {
            "sum-removed": ([("+I", 5, 1), ("-D", 2, 2)], ("-D", 2, 2)),
            "sum-onto-removed": ([("+I", 5, 1), ("-D", 2, 2), ("+I", 3, 3)], ("+I", 5, 2)),
        },
    ),
)
# fmt: on
