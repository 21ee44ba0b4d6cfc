"""Which bucket a row belongs to, and the bytes of its partition, for whole frames at once.

The bucket is a murmur3 hash over the key's BinaryRow (`row`), without the arity prefix. The hash
eats a row word by word and keeps one state per row, so the rows are never built: each column hands
out the words of its slot and of its chunk, and one numpy operation feeds the same word position of
all rows. Rows whose text is shorter simply stop taking part.

Spec: format §7.1; reference classes ``DefaultBucketFunction``, ``MurmurHashUtils``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from .datatypes import BYTES, FLOATS, STRINGS, TIMESTAMPS, DataType, Root, to_polars
from .row import encode_row, header_bytes, is_wide_decimal, is_wide_timestamp, row_from_frame

_Words = npt.NDArray[np.uint32]
_Longs = npt.NDArray[np.uint64]
_Counts = npt.NDArray[np.int64]

_SEED = 42
_INLINE_MAX = 7
_BYTES_IN_WORD = 4
_LOW_BYTES = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=np.uint64)
"""Masks that keep the first n bytes of a little-endian long."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One column of all rows, ready to hash.

    ``low`` is the slot, or its lower half where a chunk is pointed at: where ``chunk_bytes`` is
    not 0 (multiples of 8) the chunk's offset goes to the upper half. ``word(position, rows)`` are
    the chunk's words at one position, for rows (indices) whose chunk reaches that far.
    """

    nulls: npt.NDArray[np.bool_]
    low: _Longs
    chunk_bytes: _Counts
    word: Callable[[int, npt.NDArray[np.intp]], _Words]


def bucket_numbers(
    frame: pl.DataFrame, columns: Sequence[str], types: Sequence[DataType], buckets: int
) -> pl.Series:
    """The bucket of every row, Int32, 0 to ``buckets`` - 1, named ``bucket``.

    Args:
        frame: no column may be missing; nulls are hashed as Paimon does.
        columns: the bucket key, in its order.
        types: of these columns; values are taken as of these types (see `row_hashes`).
        buckets: at least 1.
    """
    if buckets < 1:
        raise ValueError(f"no bucket count: {buckets}")
    hashes = row_hashes(frame, columns, types).to_numpy().astype(np.int64)
    # The remainder of Java keeps the sign of the hash, and abs() drops it.
    return pl.Series("bucket", (np.abs(hashes) % buckets).astype(np.int32), dtype=pl.Int32())


def row_hashes(frame: pl.DataFrame, columns: Sequence[str], types: Sequence[DataType]) -> pl.Series:
    """Java's ``BinaryRow.hashCode`` of every row's key columns, Int32, named ``hash``.

    Timestamps and times may be in any unit and are cut to the type's; the others are cast to the
    type. Equal to the hash of ``encode_row(...)[4:]``.
    """
    fields = [_field(frame.get_column(c), t) for c, t in zip(columns, types, strict=True)]
    state = np.full(frame.height, _SEED, dtype=np.uint32)
    for long in _header(fields, frame.height):
        _mix_long(state, long)
    end = np.full(frame.height, header_bytes(len(fields)) + 8 * len(fields), dtype=np.uint64)
    for field in fields:
        chunk = field.chunk_bytes.astype(np.uint64)
        _mix_long(state, np.where(chunk > 0, field.low | (end << np.uint64(32)), field.low))
        end += chunk
    for field in fields:
        _mix_chunks(state, field)
    return pl.Series("hash", _finish(state, end).view(np.int32), dtype=pl.Int32())


def encode_partitions(
    frame: pl.DataFrame, columns: Sequence[str], types: Sequence[DataType]
) -> pl.Series:
    """The serialized partition row of every row, Binary, named ``partition``.

    Every distinct partition is encoded once. What differs in its bytes is another partition: 0.0
    and -0.0 are two, null and empty text are two.
    """
    if not columns or frame.height == 0:
        return pl.Series("partition", [encode_row((), ())] * frame.height, dtype=pl.Binary())
    keys = {
        f"key{index}": _identity(frame.get_column(column), data_type)
        for index, (column, data_type) in enumerate(zip(columns, types, strict=True))
    }
    first_alike = pl.col("row").first().over(list(keys))
    firsts = pl.DataFrame(keys).with_row_index("row").select(first_alike).to_series().to_numpy()
    distinct, place = np.unique(firsts, return_inverse=True)
    encoded = [
        encode_row(row_from_frame(frame, int(index), columns, types), types) for index in distinct
    ]
    return pl.Series("partition", encoded, dtype=pl.Binary()).gather(place)


def _identity(series: pl.Series, data_type: DataType) -> pl.Series:
    """A column that is equal exactly where the encoded values are (floats by their bits)."""
    if data_type.root not in FLOATS:
        return series
    bits = pl.Series(series.name, _float_bits(series, data_type))
    return bits.to_frame().select(pl.when(series.is_not_null()).then(pl.first())).to_series()


# Murmur3, 32 bits, over little-endian words; states and words wrap around.


def _rotate(values: _Words, by: int) -> _Words:
    return (values << np.uint32(by)) | (values >> np.uint32(32 - by))


def _mixed(state: _Words, word: _Words) -> _Words:
    scrambled = _rotate(word * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)
    return _rotate(state ^ scrambled, 13) * np.uint32(5) + np.uint32(0xE6546B64)


def _mix_long(state: _Words, long: _Longs) -> None:
    state[:] = _mixed(state, long.astype(np.uint32))
    state[:] = _mixed(state, (long >> np.uint64(32)).astype(np.uint32))


def _mix_chunks(state: _Words, field: _Field) -> None:
    """Feed the chunks of one column: all rows' first words, then all second words, …"""
    word_counts = field.chunk_bytes // _BYTES_IN_WORD
    rows = np.flatnonzero(word_counts)
    position = 0
    while rows.size:
        state[rows] = _mixed(state[rows], field.word(position, rows))
        position += 1
        rows = rows[word_counts[rows] > position]


def _finish(state: _Words, sizes: _Longs) -> _Words:
    state = state ^ sizes.astype(np.uint32)
    state = (state ^ (state >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    state = (state ^ (state >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return state ^ (state >> np.uint32(16))


def _header(fields: Sequence[_Field], height: int) -> list[_Longs]:
    """The header as longs: row kind 0 in the first byte, then a bit per null field."""
    longs = [np.zeros(height, dtype=np.uint64) for _ in range(header_bytes(len(fields)) // 8)]
    for index, field in enumerate(fields):
        bit = np.uint64((index + 8) % 64)
        longs[(index + 8) // 64] |= field.nulls.astype(np.uint64) << bit
    return longs


# Columns


def _field(series: pl.Series, data_type: DataType) -> _Field:
    series = _in_form(series, data_type).rechunk()
    nulls = series.is_null().to_numpy()
    if data_type.root in STRINGS | BYTES:
        return _bytes_field(series.cast(pl.Binary()), nulls)
    if is_wide_decimal(data_type):
        return _decimal_field(series, nulls)
    if is_wide_timestamp(data_type):
        return _timestamp_field(series, nulls)
    longs = np.where(nulls, np.uint64(0), _fixed_longs(series, data_type))
    return _Field(nulls, longs, np.zeros(len(series), dtype=np.int64), _no_words)


def _in_form(series: pl.Series, data_type: DataType) -> pl.Series:
    """The column as Polars holds the type; timestamps keep their unit."""
    if data_type.root in TIMESTAMPS:
        if not isinstance(series.dtype, pl.Datetime):
            raise ValueError(f"{series.dtype} column for {data_type}")
        return series
    return series.cast(to_polars(data_type))


def _fixed_longs(series: pl.Series, data_type: DataType) -> _Longs:
    """Slots of types that fit: the value at the low end, the rest of the bytes zero."""
    root = data_type.root
    if root in FLOATS:
        return _float_bits(series, data_type)
    if root is Root.DECIMAL:
        return _limbs(series)[:, 0]
    if root in TIMESTAMPS:
        return _millis_and_nanos(series)[0].view(np.uint64)
    numbers = series.to_physical().fill_null(0).to_numpy()
    if root is Root.TIME:
        numbers = (numbers // 1_000_000).astype(np.int32)
    # Widening must not copy the sign: the slot's upper bytes are zero.
    return numbers.view(f"u{numbers.itemsize}").astype(np.uint64)


def _float_bits(series: pl.Series, data_type: DataType) -> _Longs:
    """IEEE bits with one NaN, as `encode_row` writes them; 0 for nulls."""
    numbers: npt.NDArray[Any] = series.cast(to_polars(data_type)).fill_null(0.0).to_numpy()
    one_nan = np.where(np.isnan(numbers), numbers.dtype.type("nan"), numbers)
    return one_nan.view(f"u{one_nan.itemsize}").astype(np.uint64)


def _no_words(position: int, rows: npt.NDArray[np.intp]) -> _Words:
    raise AssertionError("a column without chunks was asked for words")


def _bytes_field(series: pl.Series, nulls: npt.NDArray[np.bool_]) -> _Field:
    """Text and bytes: up to 7 inline with the length in the top byte, longer ones in a chunk."""
    starts, sizes, data = _byte_buffers(series)
    sizes = np.where(nulls, 0, sizes)
    first_bytes = data.view_at(starts) & _LOW_BYTES[np.minimum(sizes, 8)]
    inline = first_bytes | ((sizes.astype(np.uint64) | np.uint64(0x80)) << np.uint64(56))
    long = sizes > _INLINE_MAX
    low = np.where(nulls, np.uint64(0), np.where(long, sizes.astype(np.uint64), inline))

    def word(position: int, rows: npt.NDArray[np.intp]) -> _Words:
        done = position * _BYTES_IN_WORD
        left = np.clip(sizes[rows] - done, 0, _BYTES_IN_WORD)
        # A chunk's padding is read from the next value's bytes or beyond the end, and masked.
        at = np.minimum(starts[rows] + done, data.size)
        return (data.view_at(at) & _LOW_BYTES[left]).astype(np.uint32)

    return _Field(nulls, low, np.where(long, (sizes + 7) // 8 * 8, 0), word)


@dataclass(frozen=True, slots=True)
class _Data:
    """The bytes of a column one after another, and eight zeros behind them."""

    padded: npt.NDArray[np.uint8]

    @property
    def size(self) -> int:
        return self.padded.size - 8

    def view_at(self, offsets: _Counts) -> _Longs:
        """The eight bytes from each offset (at most ``size``) on, as little-endian longs."""
        longs = np.ndarray((self.size + 1,), dtype="<u8", buffer=self.padded.data, strides=(1,))
        return longs[offsets]


def _arrow(series: pl.Series) -> Any:
    """The column as one plain Arrow array: 64-bit offsets, no views (pyarrow is untyped)."""
    return cast("Any", series.rechunk()).to_arrow(compat_level=pl.CompatLevel.oldest())


def _byte_buffers(series: pl.Series) -> tuple[_Counts, _Counts, _Data]:
    """Start and length of every value, and the bytes they point into."""
    array = _arrow(series)
    _, offset_buffer, data_buffer = array.buffers()
    raw = np.frombuffer(offset_buffer, dtype=np.int64)
    offsets = raw[array.offset : array.offset + len(array) + 1]
    data = np.zeros((0 if data_buffer is None else data_buffer.size) + 8, dtype=np.uint8)
    if data_buffer is not None:
        data[:-8] = np.frombuffer(data_buffer, dtype=np.uint8)
    return offsets[:-1], np.diff(offsets), _Data(data)


def _limbs(series: pl.Series) -> _Longs:
    """Unscaled values of a Decimal column: (rows, 2), low half first; 0 for nulls."""
    array = _arrow(series.fill_null(0))
    raw = np.frombuffer(array.buffers()[1], dtype=np.uint64)
    return raw[2 * array.offset : 2 * (array.offset + len(array))].reshape(-1, 2)


def _decimal_field(series: pl.Series, nulls: npt.NDArray[np.bool_]) -> _Field:
    """DECIMAL(p > 18): a 16-byte chunk, null or not; as few big-endian bytes as hold the number."""
    limbs = _limbs(series)
    sizes = np.where(nulls, 0, _minimal_sizes(limbs))
    big_endian = np.ascontiguousarray(limbs).view(np.uint8)[:, ::-1]
    place = np.arange(16)[None, :] + (16 - sizes)[:, None]
    shifted = np.take_along_axis(big_endian, np.minimum(place, 15), axis=1)
    words = np.where(place < 16, shifted, np.uint8(0)).view("<u4")
    chunk_bytes = np.full(len(series), 16, dtype=np.int64)
    return _Field(nulls, sizes.astype(np.uint64), chunk_bytes, lambda at, rows: words[rows, at])


def _minimal_sizes(limbs: _Longs) -> _Counts:
    """How many bytes each number's shortest two's complement has: 1 to 16."""
    sign = np.uint64(0) - (limbs[:, 1] >> np.uint64(63))
    low, high = limbs[:, 0] ^ sign, limbs[:, 1] ^ sign
    sizes = np.ones(len(limbs), dtype=np.int64)
    for byte_count in range(1, 16):
        # One byte more for every threshold 2 ** (8 n - 1) that the magnitude reaches.
        bit = 8 * byte_count - 1
        reached = low >> np.uint64(bit) | high if bit < 64 else high >> np.uint64(bit - 64)
        sizes += reached != 0
    return sizes


def _timestamp_field(series: pl.Series, nulls: npt.NDArray[np.bool_]) -> _Field:
    """TIMESTAMP(p > 3): the milliseconds in an 8-byte chunk, null or not; the nanos in the slot."""
    millis, nanos = (np.where(nulls, 0, part) for part in _millis_and_nanos(series))
    words = np.ascontiguousarray(millis, dtype="<i8").view("<u4").reshape(-1, 2)
    chunk_bytes = np.full(len(series), 8, dtype=np.int64)
    return _Field(nulls, nanos.astype(np.uint64), chunk_bytes, lambda at, rows: words[rows, at])


def _millis_and_nanos(series: pl.Series) -> tuple[_Counts, _Counts]:
    """Whole milliseconds (floor) and the nanoseconds over; 0 in nulls."""
    dtype = series.dtype
    assert isinstance(dtype, pl.Datetime)
    per_milli = {"ms": 1, "us": 1_000, "ns": 1_000_000}[dtype.time_unit]
    ticks = series.to_physical().fill_null(0).to_numpy()
    millis, rest = np.divmod(ticks, per_milli)
    return millis, rest * (1_000_000 // per_milli)
