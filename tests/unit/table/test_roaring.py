"""Bitmaps united, and bytes that are no bitmap. Vectors were written by Paimon 2.0.0."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest
from pyroaring import BitMap, BitMap64

from desilt.table.errors import BadData
from desilt.table.roaring import union_rbm32, union_rbm64
from desilt.table.roaring64 import dump_bitmap64, load_bitmap64

Union = Callable[[pl.Series, pl.Series], pl.Series]

# Values (as unsigned) and Java's bytes.
VECTORS: dict[str, tuple[list[int], str]] = {
    "nothing": ([], "00"),
    "one value": (
        [7],
        "01010000000000000004000000000000000000000000000000000001000000fe01000000010201000000"
        "070001000000000000000000000000000000",
    ),
    "both ends": (
        [0, 18446744073709551615],
        "010200000000000000000200000000ff0004000000000000000000000000000000000004000000ffffff"
        "ffffff010000000000000001000000fe020000000102010000000000010201000000ffff020000000000"
        "00000000000001000000",
    ),
    "smallest and largest": (
        [9223372036854775807, 9223372036854775808],
        "010200000000000000000200000000807f040000007fffffffffff010000000000000004000000800000"
        "000000000000000000000001000000fe020000000102010000000000010201000000ffff020000000000"
        "00000000000001000000",
    ),
    "a run": (
        list(range(100, 140)),
        "01010000000000000004000000000000000000000000000000000001000000fe01000000010028000000"
        "01006400270001000000000000000000000000000000",
    ),
    "an array and a run": (
        [1, 5, 9, *range(1 << 20, (1 << 20) + 20)],
        "010200000000000000000200050000000000000010000400000000000000000000000000000000000400"
        "0000000000000010010000000000000001000000fe020000000102030000000100050009000100140000"
        "0001000000130002000000000000000000000001000000",
    ),
    "four branches": (
        [i << 16 for i in range(4)],
        "010400000000000000000400050000000000030201000400000000000000000000000000000000000400"
        "000000000000000101000000000000000400000000000000000202000000000000000400000000000000"
        "0003030000000000000001000000fe040000000102010000000000010201000000000001020100000000"
        "00010201000000000004000000000000000000000003000000",
    ),
    "five branches": (
        [i << 16 for i in range(5)],
        "010500000000000000010500050000000000000000040302010000000000000000000400000000000000"
        "000000000000000000000400000000000000000101000000000000000400000000000000000202000000"
        "000000000400000000000000000303000000000000000400000000000000000404000000000000000100"
        "0000fe060000000102010000000000010201000000000001020100000000000102010000000000010201"
        "00000000000005000000000000000000000004000000",
    ),
    "below a prefix": (
        [8070450532247928833, 8070450532247994369, 8070450536542896129],
        "010300000000000000000200037000000000010000020001000000010004000000700000000000000000"
        "000000000004000000700000000001010000000000000004000000700000010000020000000000000001"
        "000000fe0300000001020100000001000102010000000100010201000000010003000000000000000000"
        "000002000000",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_bytes_of_java_are_read(name: str) -> None:
    values, data = VECTORS[name]

    assert list(load_bitmap64(bytes.fromhex(data))) == values


@pytest.mark.parametrize("name", VECTORS)
def test_bytes_equal_javas_or_mean_the_same(name: str) -> None:
    """Java leaves room behind its containers, so only some can be equal."""
    values, data = VECTORS[name]
    ours = dump_bitmap64(BitMap64(values))

    assert list(load_bitmap64(ours)) == values
    assert len(ours) <= len(data) // 2


def narrow(*values: int) -> bytes:
    return BitMap(values).serialize()


def wide(*values: int) -> bytes:
    return dump_bitmap64(BitMap64(values))


def test_union_of_32_bits_goes_row_by_row() -> None:
    left = pl.Series("a", [narrow(1, 2), narrow(), narrow(*range(5000))])
    right = pl.Series("b", [narrow(2, 2**32 - 1), narrow(), narrow(4999, 5000)])
    united = union_rbm32(left, right)

    assert (united.name, united.dtype) == ("a", pl.Binary())
    assert [list(BitMap.deserialize(data)) for data in united] == [
        [1, 2, 2**32 - 1], [], list(range(5001)),
    ]  # fmt: skip
    assert len(united[2]) < 30  # one run


def test_union_of_64_bits_goes_row_by_row() -> None:
    left = pl.Series("a", [wide(1, 2), wide(), wide(*range(5000)), wide(2**63)])
    right = pl.Series("b", [wide(2, 2**64 - 1), wide(), wide(4999, 5000), wide()])
    united = union_rbm64(left, right)

    assert (united.name, united.dtype) == ("a", pl.Binary())
    assert [list(load_bitmap64(data)) for data in united] == [
        [1, 2, 2**64 - 1], [], list(range(5001)), [2**63],
    ]  # fmt: skip
    assert united[1] == b"\0"


@pytest.mark.parametrize("union", [union_rbm32, union_rbm64])
def test_union_of_no_rows_is_empty(union: Union) -> None:
    nothing = pl.Series("a", [], pl.Binary)

    assert union(nothing, nothing).equals(nothing)


@pytest.mark.parametrize("union", [union_rbm32, union_rbm64])
def test_columns_of_other_lengths_are_a_bug(union: Union) -> None:
    with pytest.raises(ValueError, match="zip"):
        union(pl.Series([b""]).clear(), pl.Series([b""]))


# --- what is no bitmap --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"text", b"\x3a\x30\0\0\xff\xff\xff\x7f", b"\xff" * 40]
)
def test_bytes_that_are_no_32_bit_bitmap_are_refused(data: bytes) -> None:
    with pytest.raises(BadData, match="no roaring bitmap"):
        union_rbm32(pl.Series([narrow(1)]), pl.Series([data]))


WHOLE = {
    "array": wide(1, 5, 2**40),
    "run": wide(*range(10)),
    "bits": wide(*range(0, 20_000, 2)),
    "branches": wide(*(i << 16 for i in range(20)), *(i << 40 for i in range(300))),
}


@pytest.mark.parametrize("name", WHOLE)
def test_bytes_cut_anywhere_are_refused(name: str) -> None:
    data = WHOLE[name]
    for size in {*range(min(200, len(data) - 17)), len(data) - 17}:
        with pytest.raises(BadData):
            load_bitmap64(data[:size])


def test_what_follows_is_ignored() -> None:
    assert load_bitmap64(WHOLE["run"] + b"more") == BitMap64(range(10))


ONE = bytes.fromhex(VECTORS["one value"][1])
KEY, PLACE, COUNT, KIND, CARDINALITY, VALUE = 13, 19, 32, 37, 38, 42
"""Where these are in the bytes of one value."""


def changed(at: int, new: str) -> bytes:
    return ONE[:at] + bytes.fromhex(new) + ONE[at + len(new) // 2 :]


BROKEN: dict[str, bytes] = {
    "another tag": changed(0, "02"),
    "more keys than leaves": changed(1, "02"),
    "an unknown node": changed(9, "05"),
    "a branch without children": changed(9, "00"),
    "a container that is not there": changed(PLACE, "01"),
    "a container before the first": changed(PLACE, "ff" * 8),
    "an unknown mark": changed(KIND - 1, "02"),
    "no container": changed(KIND - 1, "00"),
    "an unknown container": changed(KIND, "03"),
    "no values": changed(CARDINALITY, "00"),
    "fewer values than none": changed(CARDINALITY, "ff" * 4),
    "more values than bytes": changed(CARDINALITY, "ff7f0000"),
    "values that do not ascend": changed(CARDINALITY, "02000000070005000000000000000000"),
    "bits that are not set": changed(KIND, "01 ffff0000".replace(" ", "")) + b"\0" * 8192,
}


@pytest.mark.parametrize("name", BROKEN)
def test_bytes_that_contradict_themselves_are_refused(name: str) -> None:
    assert list(load_bitmap64(ONE)) == [7]

    with pytest.raises(BadData, match="no 64-bit roaring bitmap"):
        load_bitmap64(BROKEN[name])


@pytest.mark.parametrize("count", [1, 4096])
def test_few_values_as_bits_are_read(count: int) -> None:
    """No library writes that; Java reads it."""
    bits = bytearray(8192)
    for value in range(count):
        bits[value // 4] |= 1 << (value % 4 * 2)
    head = ONE[:KIND] + b"\1" + count.to_bytes(4, "little")

    assert load_bitmap64(head + bytes(bits) + bytes(16)) == BitMap64(range(0, 2 * count, 2))


def test_many_values_as_an_array_are_read() -> None:
    values = b"".join((3 * i).to_bytes(2, "little") for i in range(5000))
    head = ONE[:KIND] + b"\2" + (5000).to_bytes(4, "little")

    assert load_bitmap64(head + values + bytes(16)) == BitMap64(range(0, 15_000, 3))
