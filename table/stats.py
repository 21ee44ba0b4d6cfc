"""Column statistics: bounds and null counts of files and manifests.

Bounds decide which files a reader skips, so the one rule is: a minimum is never above a value of
the file, a maximum never below one, and what is not known is null. They come from the Parquet
footer that was just written, never from a second pass over the rows.

What footers do not say, and what is made of it:

- Polars cuts text and bytes to 64 bytes (the maximum rounded up, valid UTF-8), pyarrow leaves long
  ones out. Either way they are bounds, which truncation keeps.
- The writers turn zero bounds into -0.0 (minimum) and 0.0 (maximum); whoever does not is treated
  the same, as a zero may hide its twin.
- NaN never shows, and is the greatest value for Paimon. Float bounds are therefore null unless the
  writer of the rows vouches that there was none.
- A group of rows without any value has no bounds and takes none away.

Spec: format §5; reference classes ``ParquetSimpleStatsExtractor`` and
``TruncateSimpleColStatsCollector``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from .datatypes import BYTES, FLOATS, INTEGERS, STRINGS, TIMESTAMPS, DataType, Root
from .errors import UnsupportedFeature
from .row import Row, decimal_of, encode_row, instant_of_ticks, sort_key

_TRUNCATE = re.compile(r"truncate\(0*([1-9]\d{0,9})\)")
_MAX_CODE_POINT = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)
_UNIT_BY_WORD = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}
_TICKS_PER_MILLI = {"ms": 1, "us": 1_000, "ns": 1_000_000}


@dataclass(frozen=True, slots=True)
class SimpleStats:
    """Bounds and null counts of some columns.

    ``min_values`` and ``max_values`` are serialized rows of these columns, null where no bound is
    known. ``null_counts`` has one entry per column, None where unknown; None altogether where the
    metadata says nothing.
    """

    min_values: bytes
    max_values: bytes
    null_counts: tuple[int | None, ...] | None


EMPTY_STATS = SimpleStats(encode_row((), ()), encode_row((), ()), ())
"""Statistics of no column."""


class StatsKind(StrEnum):
    NONE = "none"
    COUNTS = "counts"
    TRUNCATE = "truncate"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class StatsMode:
    """What is kept of a column; ``length`` (code points or bytes) is set for TRUNCATE only."""

    kind: StatsKind
    length: int = 0

    @classmethod
    def parse(cls, text: str) -> StatsMode:
        """The mode that ``metadata.stats-mode`` and its like name, in any case of letters.

        Raises:
            UnsupportedFeature: no such mode.
        """
        word = text.strip().lower()
        if match := _TRUNCATE.fullmatch(word):
            return cls(StatsKind.TRUNCATE, int(match[1]))
        if word in (StatsKind.NONE, StatsKind.COUNTS, StatsKind.FULL):
            return cls(StatsKind(word))
        raise UnsupportedFeature("unknown stats mode", mode=text)


KEY_MODE = StatsMode(StatsKind.TRUNCATE, 128)
"""The mode of ``_KEY_`` and system columns unless an option names the column."""


class _Bounds(NamedTuple):
    """Of one column, in the value forms of `row`; a bound is null with its twin."""

    low: object = None
    high: object = None
    null_count: int | None = None


def collect_stats(
    metadata: Any,
    columns: Sequence[str],
    types: Sequence[DataType],
    modes: Sequence[StatsMode],
    *,
    dense: bool = True,
    nan_free: Collection[str] = (),
) -> tuple[SimpleStats, tuple[str, ...] | None]:
    """Statistics of a written Parquet file, and what goes to ``_VALUE_STATS_COLS``.

    Args:
        metadata: ``pyarrow.parquet.FileMetaData`` of the file, written by Polars or pyarrow.
        columns: top-level columns, in the order of the statistics; a column that the file lacks
            has none.
        types: Paimon types of the columns.
        modes: one per column.
        dense: leave out columns of which nothing is known (``metadata.stats-dense-store``).
        nan_free: float columns in which the writer saw no NaN; the others get no bounds.

    Returns:
        The names are None where the statistics cover all columns, and where not ``dense``.
    """
    places = _places(metadata)
    found = {
        name: _limited(_footer_bounds(metadata, places.get(name), data_type), mode)
        for name, data_type, mode in zip(columns, types, modes, strict=True)
    }
    for name, data_type in zip(columns, types, strict=True):
        if data_type.root in FLOATS and name not in nan_free:
            found[name] = _Bounds(null_count=found[name].null_count)
    kept = tuple(name for name in columns if not dense or found[name] != _Bounds())
    by_name = dict(zip(columns, types, strict=True))
    stats = _encode([found[name] for name in kept], [by_name[name] for name in kept])
    return stats, None if len(kept) == len(columns) else kept


def stats_of_rows(rows: Sequence[Row], types: Sequence[DataType]) -> SimpleStats:
    """Full statistics of few rows in memory, as manifest lists keep them of partitions.

    Without rows the bounds are null and the counts 0.
    """
    bounds: list[_Bounds] = []
    for index, data_type in enumerate(types):
        present = _sorted([row[index] for row in rows if row[index] is not None], data_type)
        ends = (present[0], present[-1]) if present else (None, None)
        bounds.append(_Bounds(*ends, len(rows) - len(present)))
    return _encode(bounds, types)


def _encode(bounds: Sequence[_Bounds], types: Sequence[DataType]) -> SimpleStats:
    return SimpleStats(
        encode_row([b.low for b in bounds], types),
        encode_row([b.high for b in bounds], types),
        tuple(b.null_count for b in bounds),
    )


# Modes


def _limited(bounds: _Bounds, mode: StatsMode) -> _Bounds:
    match mode.kind:
        case StatsKind.NONE:
            return _Bounds()
        case StatsKind.COUNTS:
            return _Bounds(null_count=bounds.null_count)
        case StatsKind.TRUNCATE:
            high = truncate_max(bounds.high, mode.length)
            if high is None:
                return _Bounds(null_count=bounds.null_count)
            return _Bounds(truncate_min(bounds.low, mode.length), high, bounds.null_count)
        case StatsKind.FULL:
            return bounds


def truncate_min(value: object, length: int) -> object:
    """A value not above ``value``: text and bytes cut to ``length`` (code points, bytes)."""
    return value[:length] if isinstance(value, (str, bytes)) else value


def truncate_max(value: object, length: int) -> object:
    """A value not below ``value``: cut, then the last unit that has a successor is replaced by it.

    None where all units are the greatest there is.
    """
    if not isinstance(value, (str, bytes)) or len(value) <= length:
        return value
    if isinstance(value, str):
        return _incremented_text(value[:length])
    kept = value[:length].rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None


def _incremented_text(text: str) -> str | None:
    kept = text.rstrip(chr(_MAX_CODE_POINT))
    if not kept:
        return None
    code_point = ord(kept[-1]) + 1
    # Halves of surrogate pairs are no text of their own; Java writes "?" here, which is too low.
    return kept[:-1] + chr(_SURROGATES.stop if code_point in _SURROGATES else code_point)


# Footers


def _footer_bounds(metadata: Any, place: int | None, data_type: DataType) -> _Bounds:
    """Bounds over all row groups of the column at ``place``; nothing where there is none."""
    if place is None:
        return _Bounds()
    null_count: int | None = 0
    lows: list[object] = []
    highs: list[object] = []
    complete = True
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        statistics = group.column(place).statistics
        nulls = _null_count(metadata, place, statistics)
        null_count = None if null_count is None or nulls is None else null_count + nulls
        if nulls == group.num_rows:
            continue
        low, high = _group_bounds(metadata.schema.column(place), statistics, data_type)
        complete = complete and low is not None and high is not None
        lows.append(low)
        highs.append(high)
    if not complete or not lows:
        return _Bounds(null_count=null_count)
    return _Bounds(_sorted(lows, data_type)[0], _sorted(highs, data_type)[-1], null_count)


def group_bounds(
    metadata: Any, column: str, data_type: DataType
) -> list[tuple[object, object, int | None]]:
    """Lowest and highest value and nulls of a top-level column in each row group, as far as known.

    Bounds of floats do not tell of NaN.
    """
    place = _places(metadata).get(column)
    if place is None or data_type.nested:
        return [(None, None, None)] * metadata.num_row_groups
    found: list[tuple[object, object, int | None]] = []
    for index in range(metadata.num_row_groups):
        statistics = metadata.row_group(index).column(place).statistics
        ends = _group_bounds(metadata.schema.column(place), statistics, data_type)
        found.append((*ends, _null_count(metadata, place, statistics)))
    return found


def _places(metadata: Any) -> dict[str, int]:
    """Where the columns that are not nested are.

    The path of a leaf inside a nested column may be another column's name: "r.a". There are no
    statistics of nested columns.
    """
    leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    return {leaf.path: i for i, leaf in enumerate(leaves) if leaf.name == leaf.path}


def _null_count(metadata: Any, place: int, statistics: Any) -> int | None:
    if metadata.schema.column(place).max_definition_level == 0:
        return 0
    return statistics.null_count if statistics is not None and statistics.has_null_count else None


def _sorted(values: Sequence[object], data_type: DataType) -> list[object]:
    return sorted(values, key=lambda value: sort_key((value,), (data_type,)))


def _group_bounds(column: Any, statistics: Any, data_type: DataType) -> tuple[object, object]:
    """The bounds in value form; a null where it is missing, unreadable or not trusted."""
    if statistics is None or not statistics.has_min_max or column.physical_type == "INT96":
        return None, None
    # None for TIMESTAMP(7..9), as from Java: mostly INT96, which footers cannot order.
    if data_type.root in TIMESTAMPS and data_type.precision > 6:
        return None, None
    if data_type.root in FLOATS:
        return _float_bounds(statistics.min_raw, statistics.max_raw)
    try:
        low = _value(statistics.min_raw, column, data_type)
        return low, _value(statistics.max_raw, column, data_type)
    except ValueError:
        # Text cut in the middle of a character, or a value that the type cannot hold.
        return None, None


def _float_bounds(low: float, high: float) -> tuple[object, object]:
    if math.isnan(low) or math.isnan(high):
        return None, None
    return -0.0 if low == 0 else low, 0.0 if high == 0 else high


def _value(raw: Any, column: Any, data_type: DataType) -> object:
    """A physical value as a value of the type.

    Raises:
        ValueError: it cannot be one.
    """
    root = data_type.root
    if root in STRINGS:
        return bytes(raw).decode()
    if root in BYTES:
        return bytes(raw)
    if root is Root.BOOLEAN:
        return bool(raw)
    if root is Root.DECIMAL:
        return _decimal(raw, data_type)
    if root is Root.TIME:
        return int(raw) // _TICKS_PER_MILLI[_unit(column, "ms")]
    if root in TIMESTAMPS:
        return instant_of_ticks(int(raw), _unit(column, "ms" if data_type.precision <= 3 else "us"))
    assert root in INTEGERS or root is Root.DATE, root
    return int(raw)


def _decimal(raw: Any, data_type: DataType) -> Decimal:
    unscaled = int.from_bytes(raw, "big", signed=True) if isinstance(raw, bytes) else int(raw)
    if abs(unscaled) >= 10**data_type.precision:
        raise ValueError(f"{unscaled} has too many digits for {data_type}")
    return decimal_of(unscaled, data_type.scale)


def _unit(column: Any, default: str) -> str:
    """The unit that the column's annotation names."""
    text = column.logical_type.to_json()
    for word, unit in _UNIT_BY_WORD.items():
        if word in text:
            return unit
    return default
