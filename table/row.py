"""Rows of metadata: partitions, keys and statistics, as Paimon's BinaryRow bytes.

A row is a header (row kind, one null bit per field), one 8-byte slot per field and a variable part
of 8-byte aligned chunks; its *serialized form*, the one that metadata files hold, puts the number
of fields before it as four big-endian bytes. Only few rows are coded this way, so this is plain
Python; the hash of many rows is in `bucket`.

A value is, by type:

    BOOLEAN bool · integers int · FLOAT, DOUBLE float · DECIMAL Decimal · CHAR, VARCHAR str ·
    BINARY, VARBINARY bytes · DATE int, days since 1970-01-01 · TIME int, milliseconds of the day ·
    TIMESTAMP, TIMESTAMP_LTZ `Instant` · null None

A NaN is written as the one bit pattern Java's constants have, whatever bits it came with, so that
equal keys have equal bytes; -0.0 and 0.0 stay apart, as they do in Paimon.

Spec: format §6 (layout), §8.2 (order).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from decimal import Context, Decimal
from typing import NamedTuple, TypeVar

import polars as pl

from .datatypes import BYTES, FLOATS, INTEGERS, STRINGS, TIMESTAMPS, DataType, Root, to_polars
from .errors import CorruptTable, UnsupportedFeature

Row = tuple[object, ...]
_T = TypeVar("_T")

_SLOT = 8
_INLINE_MAX = 7
_WIDE_DECIMAL_BYTES = 16
# Enough digits that no operation on 38-digit decimals rounds.
_EXACT = Context(prec=80)
_INTEGER_BYTES = {
    Root.TINYINT: 1,
    Root.SMALLINT: 2,
    Root.INT: 4,
    Root.DATE: 4,
    Root.TIME: 4,
    Root.BIGINT: 8,
}
_FLOAT_FORMAT = {Root.FLOAT: "<f", Root.DOUBLE: "<d"}
_TICKS_PER_MILLI = {"ms": 1, "us": 1_000, "ns": 1_000_000}


class Instant(NamedTuple):
    """A timestamp: whole milliseconds since 1970 (floor, before 1970 too) and the rest in nanos.

    Invariant: ``0 <= nanos_of_milli <= 999_999``. Tuples order as time does.
    """

    epoch_millis: int
    nanos_of_milli: int = 0


def instant_of_ticks(ticks: int, unit: str) -> Instant:
    """The instant that is ``ticks`` of ``unit`` (``ms``, ``us``, ``ns``) after 1970."""
    per_milli = _TICKS_PER_MILLI[unit]
    millis, rest = divmod(ticks, per_milli)
    return Instant(millis, rest * (1_000_000 // per_milli))


def is_wide_decimal(data_type: DataType) -> bool:
    """Whether values live in a 16-byte chunk instead of the slot."""
    return data_type.root is Root.DECIMAL and data_type.precision > 18


def is_wide_timestamp(data_type: DataType) -> bool:
    """Whether the milliseconds live in a chunk, with the nanos in the slot."""
    return data_type.root in TIMESTAMPS and data_type.precision > 3


def header_bytes(arity: int) -> int:
    """Width of row kind and null bits: 8 bytes up to 56 fields, 8 more for every 64 after."""
    return (arity + 63 + 8) // 64 * 8


def decimal_of(unscaled: int, scale: int) -> Decimal:
    """``unscaled * 10**-scale``, exact for any number of digits."""
    return Decimal(unscaled).scaleb(-scale, _EXACT)


def unscaled_of(value: Decimal, data_type: DataType) -> int:
    """The integer that stands for ``value`` at the type's scale.

    Raises:
        ValueError: the value has more digits than the type.
    """
    scaled = value.scaleb(data_type.scale, _EXACT)
    unscaled = int(scaled)
    if unscaled != scaled or abs(unscaled) >= 10**data_type.precision:
        raise ValueError(f"{value} does not fit {data_type}")
    return unscaled


# Encoding


def encode_row(
    values: Sequence[object], types: Sequence[DataType], *, key_layout: bool = True
) -> bytes:
    """The serialized form of a row, arity prefix included.

    Args:
        values: one per type, in the forms of this module's docstring.
        types: nullability is not checked.
        key_layout: a null DECIMAL(p > 18) or TIMESTAMP(p > 3) still takes its chunk. That is how
            every Java writes partitions and keys, and Java >= 1.1 all rows; False is how Java
            <= 1.0 writes statistics and key bounds.

    Raises:
        ValueError: a value is not of its type or out of its range: a bug of the caller.
    """
    if len(values) != len(types):
        raise ValueError(f"{len(values)} values for {len(types)} types")
    header = bytearray(header_bytes(len(types)))
    slots = bytearray()
    variable = bytearray()
    start = len(header) + _SLOT * len(types)
    for index, (value, data_type) in enumerate(zip(values, types, strict=True)):
        if value is None:
            header[(index + 8) // 8] |= 1 << (index % 8)
        slot, chunk = _encode_field(value, data_type, start + len(variable), key_layout)
        slots += slot
        variable += chunk + bytes(-len(chunk) % _SLOT)
    return struct.pack(">i", len(types)) + bytes(header + slots + variable)


def _encode_field(
    value: object, data_type: DataType, offset: int, key_layout: bool
) -> tuple[bytes, bytes]:
    """The slot and the chunk (often empty) of one field; ``offset`` is where a chunk would lie."""
    try:
        if value is None:
            return _encode_null(data_type, offset, key_layout)
        if is_wide_decimal(data_type) or is_wide_timestamp(data_type):
            return _encode_wide(value, data_type, offset)
        if data_type.root in STRINGS | BYTES:
            return _encode_bytes(_raw_bytes(value, data_type), offset)
        return _encode_fixed(value, data_type).ljust(_SLOT, b"\0"), b""
    except (TypeError, OverflowError, struct.error) as error:
        raise ValueError(f"{value!r} does not fit {data_type}") from error


def _pointer(offset: int, low: int) -> bytes:
    return struct.pack("<II", low, offset)


def _encode_null(data_type: DataType, offset: int, key_layout: bool) -> tuple[bytes, bytes]:
    if key_layout and is_wide_decimal(data_type):
        return _pointer(offset, 0), bytes(_WIDE_DECIMAL_BYTES)
    if key_layout and is_wide_timestamp(data_type):
        return _pointer(offset, 0), bytes(_SLOT)
    return bytes(_SLOT), b""


def _encode_wide(value: object, data_type: DataType, offset: int) -> tuple[bytes, bytes]:
    if data_type.root is Root.DECIMAL:
        unscaled = unscaled_of(_of(value, Decimal), data_type)
        digits = unscaled if unscaled >= 0 else ~unscaled
        raw = unscaled.to_bytes(digits.bit_length() // 8 + 1, "big", signed=True)
        return _pointer(offset, len(raw)), raw.ljust(_WIDE_DECIMAL_BYTES, b"\0")
    instant = _checked_instant(_of(value, Instant))
    return _pointer(offset, instant.nanos_of_milli), struct.pack("<q", instant.epoch_millis)


def _encode_bytes(raw: bytes, offset: int) -> tuple[bytes, bytes]:
    if len(raw) <= _INLINE_MAX:
        return raw.ljust(_INLINE_MAX, b"\0") + bytes([0x80 | len(raw)]), b""
    return _pointer(offset, len(raw)), raw


def _raw_bytes(value: object, data_type: DataType) -> bytes:
    if data_type.root in STRINGS:
        return _of(value, str).encode()
    return _of(value, bytes)


def _encode_fixed(value: object, data_type: DataType) -> bytes:
    root = data_type.root
    if root is Root.BOOLEAN:
        return b"\1" if _of(value, bool) else b"\0"
    if root in FLOATS:
        number = _of(value, float)
        return struct.pack(_FLOAT_FORMAT[root], math.nan if math.isnan(number) else number)
    if root is Root.DECIMAL:
        return struct.pack("<q", unscaled_of(_of(value, Decimal), data_type))
    if root in TIMESTAMPS:
        return struct.pack("<q", _checked_instant(_of(value, Instant)).epoch_millis)
    if isinstance(value, bool):
        raise TypeError("a boolean is no number")
    return _of(value, int).to_bytes(_INTEGER_BYTES[root], "little", signed=True)


def _of(value: object, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} expected")
    return value


def _checked_instant(instant: Instant) -> Instant:
    if not 0 <= instant.nanos_of_milli <= 999_999:
        raise ValueError(f"nanos of a millisecond out of range: {instant}")
    return instant


# Decoding


def decode_row(data: bytes, types: Sequence[DataType]) -> Row:
    """The values of a serialized row; nulls are read whether or not they take a chunk.

    Raises:
        CorruptTable: the bytes are no row of these types.
    """
    arity = len(types)
    fixed = 4 + header_bytes(arity) + _SLOT * arity
    if len(data) < fixed:
        raise CorruptTable("row is too short", size=len(data), fields=arity)
    if (said := int.from_bytes(data[:4], "big", signed=True)) != arity:
        raise CorruptTable("row has another number of fields", fields=arity, found=said)
    row = data[4:]
    return tuple(_decode_field(row, index, types) for index in range(arity))


def _decode_field(row: bytes, index: int, types: Sequence[DataType]) -> object:
    if row[(index + 8) // 8] >> (index % 8) & 1:
        return None
    start = header_bytes(len(types)) + _SLOT * index
    slot = row[start : start + _SLOT]
    data_type = types[index]
    if is_wide_decimal(data_type):
        raw = _chunk(row, slot)
        if not 1 <= len(raw) <= _WIDE_DECIMAL_BYTES:
            raise CorruptTable("decimal has a bad length", size=len(raw))
        return _checked_decimal(int.from_bytes(raw, "big", signed=True), data_type)
    if is_wide_timestamp(data_type):
        return _decode_wide_timestamp(row, slot)
    if data_type.root in STRINGS | BYTES:
        inline = slot[7] & 0x80
        raw = _inline(slot) if inline else _chunk(row, slot)
        return _decode_text(raw) if data_type.root in STRINGS else raw
    return _decode_fixed(slot, data_type)


def _inline(slot: bytes) -> bytes:
    size = slot[7] & 0x7F
    if size > _INLINE_MAX:
        raise CorruptTable("inline value has a bad length", size=size)
    return slot[:size]


def _chunk(row: bytes, slot: bytes) -> bytes:
    size, offset = struct.unpack("<II", slot)
    return _slice(row, offset, size)


def _slice(row: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(row):
        raise CorruptTable("row points beyond its end", offset=offset, size=size, row=len(row))
    return row[offset : offset + size]


def _decode_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise CorruptTable("text is no UTF-8", position=error.start) from error


def _decode_wide_timestamp(row: bytes, slot: bytes) -> Instant:
    nanos, offset = struct.unpack("<II", slot)
    (millis,) = struct.unpack("<q", _slice(row, offset, _SLOT))
    if nanos > 999_999:
        raise CorruptTable("nanos of a millisecond out of range", nanos=nanos)
    return Instant(millis, nanos)


def _decode_fixed(slot: bytes, data_type: DataType) -> object:
    root = data_type.root
    if root is Root.BOOLEAN:
        return slot[0] != 0
    if root in FLOATS:
        (number,) = struct.unpack_from(_FLOAT_FORMAT[root], slot)
        return number
    if root is Root.DECIMAL:
        return _checked_decimal(int.from_bytes(slot, "little", signed=True), data_type)
    if root in TIMESTAMPS:
        return Instant(int.from_bytes(slot, "little", signed=True))
    return int.from_bytes(slot[: _INTEGER_BYTES[root]], "little", signed=True)


def _checked_decimal(unscaled: int, data_type: DataType) -> Decimal:
    if abs(unscaled) >= 10**data_type.precision:
        raise CorruptTable("decimal has too many digits", type=data_type, unscaled=unscaled)
    return decimal_of(unscaled, data_type.scale)


# Order


def sort_key(values: Sequence[object], types: Sequence[DataType]) -> tuple[tuple[object, ...], ...]:
    """What Python compares the way Paimon orders rows of these types: column by column, ascending.

    Nulls first; -0.0 before 0.0, NaN last (Java's ``compare``); text by its UTF-8 bytes. Keys of
    rows of the same types compare with each other, others do not.
    """
    return tuple(
        () if value is None else (_comparable(value, data_type),)
        for value, data_type in zip(values, types, strict=True)
    )


def _comparable(value: object, data_type: DataType) -> object:
    if data_type.root in FLOATS:
        return _float_rank(_of(value, float))
    if data_type.root in STRINGS:
        return _of(value, str).encode()
    return value


def _float_rank(number: float) -> int:
    """IEEE bits as an integer that ascends with the number."""
    (bits,) = struct.unpack("<q", struct.pack("<d", math.nan if math.isnan(number) else number))
    return int(bits) if bits >= 0 else int(bits) ^ 0x7FFF_FFFF_FFFF_FFFF


# Polars


def row_from_frame(
    frame: pl.DataFrame, index: int, columns: Sequence[str], types: Sequence[DataType]
) -> Row:
    """Row ``index`` of a frame in this module's value forms.

    Times and timestamps finer than the type are cut (floor). Columns are taken to hold values of
    their type, in any unit that Polars has.
    """
    return tuple(
        _value_of(frame.get_column(column).slice(index, 1), data_type)
        for column, data_type in zip(columns, types, strict=True)
    )


def _value_of(series: pl.Series, data_type: DataType) -> object:
    """The value of a series of length one."""
    root = data_type.root
    if root in TIMESTAMPS:
        dtype = series.dtype
        if not isinstance(dtype, pl.Datetime):
            raise ValueError(f"{dtype} column for {data_type}")
        ticks = series.to_physical().item()
        if ticks is None:
            return None
        instant = instant_of_ticks(ticks, dtype.time_unit)
        return instant if is_wide_timestamp(data_type) else Instant(instant.epoch_millis)
    if root is Root.TIME:
        nanos = series.cast(pl.Time()).to_physical().item()
        return None if nanos is None else nanos // 1_000_000
    if root is Root.DATE:
        return series.cast(pl.Date()).to_physical().item()
    if root in INTEGERS | FLOATS | {Root.DECIMAL}:
        return series.cast(to_polars(data_type)).item()
    return series.item()


def series_from_values(name: str, values: Sequence[object], data_type: DataType) -> pl.Series:
    """A column of the type's Polars form from values in this module's forms.

    Raises:
        UnsupportedFeature: a timestamp beyond what 64 bits of the type's unit reach (nanoseconds:
            years 1677 to 2262).
    """
    dtype = to_polars(data_type)
    if isinstance(dtype, pl.Datetime):
        ticks = [None if v is None else _ticks(_of(v, Instant), dtype.time_unit) for v in values]
        return pl.Series(name, ticks, dtype=pl.Int64()).cast(dtype)
    if data_type.root is Root.DATE:
        return pl.Series(name, values, dtype=pl.Int32()).cast(dtype)
    if data_type.root is Root.TIME:
        nanos = [None if v is None else _of(v, int) * 1_000_000 for v in values]
        return pl.Series(name, nanos, dtype=pl.Int64()).cast(dtype)
    return pl.Series(name, values, dtype=dtype)


def _ticks(instant: Instant, unit: str) -> int:
    per_milli = _TICKS_PER_MILLI[unit]
    ticks = instant.epoch_millis * per_milli + instant.nanos_of_milli * per_milli // 1_000_000
    if not -(2**63) <= ticks < 2**63:
        raise UnsupportedFeature(
            "timestamp is out of range", millis=instant.epoch_millis, unit=unit
        )
    return ticks
