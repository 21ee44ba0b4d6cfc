"""Aggregate functions of arrays, maps and bitmaps; `support.aggregate_model` has those of scalars.

Values are in the canonical encoding: an array is a list, a row {"row": [...]}, a map
{"map": [[key, value], ...]}. Where the library leaves the order of elements to a hash table, the
order here is that of arrival; `is_unordered` says of which columns only the multiset counts.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any, cast

from .aggregate_parts import Aggregator, IllegalMerge, both, order_key, stateless
from .canonical import ColumnType, Json, ordered

__all__ = ["NESTED_FUNCTIONS", "bitmap_bytes", "is_unordered", "nested_aggregator"]

Array = list[Any]
Entries = list[list[Any]]

NESTED_FUNCTIONS = (
    "collect",
    "merge_map",
    "merge_map_with_keytime",
    "nested_update",
    "nested_partial_update",
    "rbm32",
)
_LIMIT = 2**31 - 1
_CONSTRUCTED = ("ARRAY", "MAP", "MULTISET", "ROW")


def is_unordered(field: str, kind: ColumnType, name: str, options: Mapping[str, str]) -> bool:
    """Whether a function's arrays come in an order that means nothing."""
    own = _Own(field, options)
    if name == "collect":
        return own.on("distinct") and kind.inner[0].root not in _CONSTRUCTED
    return name == "nested_partial_update" or (
        name == "nested_update" and bool(own.names("nested-key"))
    )


def nested_aggregator(
    field: str, kind: ColumnType, name: str, options: Mapping[str, str]
) -> Aggregator:
    own = _Own(field, options)
    makers: dict[str, Callable[[], Aggregator]] = {
        "collect": lambda: _collect(kind, distinct=own.on("distinct")),
        "merge_map": lambda: stateless(both(_merge_map), _unmerge_map),
        "merge_map_with_keytime": lambda: stateless(both(_by_time(kind, own.text("ts-field")))),
        "nested_update": lambda: _Nested(kind, own).aggregator(partial=False),
        "nested_partial_update": lambda: _Nested(kind, own).aggregator(partial=True),
        "rbm32": lambda: stateless(both(_bitmap_or)),
    }
    return makers[name]()


class _Own:
    """A column's own options."""

    def __init__(self, field: str, options: Mapping[str, str]) -> None:
        self._prefix, self._options = f"fields.{field}.", options

    def text(self, suffix: str) -> str | None:
        return self._options.get(self._prefix + suffix)

    def on(self, suffix: str) -> bool:
        return self.text(suffix) == "true"

    def names(self, suffix: str) -> list[str]:
        return [name for name in (self.text(suffix) or "").split(",") if name]


def _text(value: Json) -> str:
    return json.dumps(ordered(value), sort_keys=True)


# --- collect ------------------------------------------------------------------------------------


def _collect(kind: ColumnType, *, distinct: bool) -> Aggregator:
    keeps_held = kind.inner[0].root in _CONSTRUCTED

    def add(held: Json, given: Json) -> Json:
        if held is None and given is None:
            return None
        if not distinct:
            if held is None or given is None:
                return given if held is None else held
            return [*cast(Array, held), *cast(Array, given)]
        # What is held of constructed elements is taken for distinct, whatever it is.
        found: Array = list(_listed(held)) if keeps_held else []
        for element in _listed(given) if keeps_held else [*_listed(held), *_listed(given)]:
            if not _contains(found, element, looks_inside=keeps_held):
                found.append(element)
        return found

    def retract(held: Json, given: Json) -> Json:
        if held is None or not given:
            return held
        gone = [_text(element) for element in cast(Array, given)]
        left: Array = []
        for element in cast(Array, held):
            if _text(element) in gone:
                gone.remove(_text(element))
            else:
                left.append(element)
        return left

    return Aggregator(add, retract, add, lambda: None)


def _contains(found: Array, element: Any, *, looks_inside: bool) -> bool:
    """Whether an element is there; the library fails on nulls that it passes looking for a row."""
    for there in found:
        if looks_inside and there is None and element is not None:
            raise IllegalMerge("a null before a row")
        if _text(there) == _text(element):
            return True
    return False


def _listed(value: Json) -> Array:
    return cast(Array, value) if value is not None else []


# --- maps ---------------------------------------------------------------------------------------


def _entries(value: Json) -> dict[str, list[Any]]:
    """Entries by the text of their keys."""
    entries = cast("dict[str, Entries]", value)["map"]
    return {_text(entry[0]): entry for entry in entries}


def _as_map(entries: Mapping[str, list[Any]]) -> Json:
    return {"map": list(entries.values())}


def _merge_map(held: Json, given: Json) -> Json:
    return _as_map(_entries(held) | _entries(given))


def _unmerge_map(held: Json, given: Json) -> Json:
    if held is None or given is None:
        return held
    gone = _entries(given)
    return _as_map({key: entry for key, entry in _entries(held).items() if key not in gone})


def _by_time(kind: ColumnType, field: str | None) -> Callable[[Json, Json], Json]:
    names = [name for name, _ in kind.inner[1].parts]
    at = names.index(field) if field else len(names) - 1

    def merged(held: Json, given: Json) -> Json:
        found = _entries(held)
        for key, entry in _entries(given).items():
            if entry[1] is None:
                found.pop(key, None)
            elif entry[1]["row"][at] is not None and _is_newer(found.get(key), entry, at):
                found[key] = entry
        return _as_map(found)

    return merged


def _is_newer(there: list[Any] | None, entry: list[Any], at: int) -> bool:
    """Times are texts, compared by their UTF-16 units; equal ones are not newer."""
    if there is None or there[1] is None or there[1]["row"][at] is None:
        return True
    new, old = entry[1]["row"][at], there[1]["row"][at]
    return bool(new.encode("utf-16-be") > old.encode("utf-16-be"))


# --- arrays of rows -----------------------------------------------------------------------------


class _Nested:
    """An array of rows as a small table of its own."""

    def __init__(self, kind: ColumnType, own: _Own) -> None:
        self.parts = kind.inner[0].parts
        names = [name for name, _ in self.parts]
        self.keys = [names.index(name) for name in own.names("nested-key")]
        self.sequence = [names.index(name) for name in own.names("nested-sequence-field")]
        self.null_keys = own.text("nested-key-null-strategy") or "merge"
        self.limit = int(own.text("count-limit") or _LIMIT)

    def aggregator(self, *, partial: bool) -> Aggregator:
        if partial:
            return stateless(self._overlay)
        if self.keys:
            return stateless(self._upsert, self._remove_keys)
        return stateless(self._append, self._remove_rows)

    def _key(self, row: Any) -> str | None:
        """The text of a row's key; None where the row is to be left out."""
        key = [row["row"][i] for i in self.keys]
        if None in key and self.null_keys != "merge":
            if self.null_keys == "error":
                raise IllegalMerge("a nested key is null")
            return None
        return _text(key)

    def _rank(self, row: Any) -> list[tuple[Any, ...]]:
        values = [(row["row"][i], self.parts[i][1]) for i in self.sequence]
        return [(0,) if v is None else (1, *order_key(kind, v)) for v, kind in values]

    def _append(self, held: Json, given: Json) -> Json:
        if given is None:
            return held
        new = [row for row in _listed(given) if row is not None]
        if held is None:
            return new[: self.limit]
        if len(_listed(held)) >= self.limit:
            return held
        room = self.limit - len(_listed(held))
        return [*(row for row in _listed(held) if row is not None), *new[:room]]

    def _remove_rows(self, held: Json, given: Json) -> Json:
        if held is None or given is None:
            return held
        gone = [_text(row) for row in _listed(given) if row is not None]
        return [row for row in _listed(held) if row is not None and _text(row) not in gone]

    def _upsert(self, held: Json, given: Json) -> Json:
        if given is None:
            return held
        rows: dict[str, Any] = {}
        self._put(rows, _listed(held), limit=_LIMIT)
        self._put(rows, _listed(given), limit=self.limit)
        return list(rows.values())

    def _put(self, rows: dict[str, Any], new: Array, *, limit: int) -> None:
        for row in new:
            key = None if row is None else self._key(row)
            if key is None:
                continue
            if key not in rows:
                if len(rows) < limit:
                    rows[key] = row
            elif self._rank(row) >= self._rank(rows[key]):
                rows[key] = row

    def _remove_keys(self, held: Json, given: Json) -> Json:
        if held is None or given is None:
            return held
        rows = {self._key(row): row for row in _listed(held) if row is not None}
        rows.pop(None, None)
        for row in _listed(given):
            if row is not None:
                rows.pop(self._key(row), None)
        return list(rows.values())

    def _overlay(self, held: Json, given: Json) -> Json:
        if given is None:
            return held
        rows: dict[str, Array] = {}
        present = [row for row in (*_listed(held), *_listed(given)) if row is not None]
        for row in present:
            key = self._key(row)
            if key is not None:
                made = rows.setdefault(key, [None] * len(self.parts))
                for i, new in enumerate(row["row"]):
                    made[i] = made[i] if new is None else new
        return [{"row": row} for row in rows.values()]


# --- bitmaps ------------------------------------------------------------------------------------

_COOKIE = 12346  # of bitmaps without runs
_ARRAY_MAX = 4096


def bitmap_bytes(numbers: set[int]) -> str:
    """A 32-bit Roaring bitmap in its portable form, as hex; of arrays only, so not many numbers."""
    by_high: dict[int, list[int]] = {}
    for number in sorted(numbers):
        by_high.setdefault(number >> 16, []).append(number & 0xFFFF)
    assert all(len(low) <= _ARRAY_MAX for low in by_high.values())
    heads = b"".join(struct.pack("<HH", high, len(low) - 1) for high, low in by_high.items())
    offset = 8 + 8 * len(by_high)
    offsets, arrays = b"", b""
    for low in by_high.values():
        offsets += struct.pack("<I", offset + len(arrays))
        arrays += struct.pack(f"<{len(low)}H", *low)
    return (struct.pack("<II", _COOKIE, len(by_high)) + heads + offsets + arrays).hex()


def _numbers(text: str) -> set[int]:
    data = bytes.fromhex(text)
    cookie, count = struct.unpack_from("<II", data)
    if cookie != _COOKIE:
        raise ValueError("a bitmap with runs")
    found: set[int] = set()
    at = 8 + 8 * count
    for i in range(count):
        high, size = struct.unpack_from("<HH", data, 8 + 4 * i)
        lows = struct.unpack_from(f"<{size + 1}H", data, at)
        found |= {high << 16 | low for low in lows}
        at += 2 * (size + 1)
    return found


def _bitmap_or(held: Json, given: Json) -> Json:
    return bitmap_bytes(_numbers(str(held)) | _numbers(str(given)))
