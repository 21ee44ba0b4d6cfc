"""64-bit roaring bitmaps as Java's ``Roaring64Bitmap`` writes them, which is no published format.

    bitmap     = 0x00 when empty, else 0x01 tree containers
    tree       = number of keys i64, node
    node       = leaf | branch
    leaf       = 0x04, 0 i16, 0x00, key (6 bytes, most significant first), its container's place i64
    branch     = kind u8, number of children i16, size of prefix u8, prefix, labels, children
    labels     = kind 0 (at most 4 children): their bytes from the top byte of an i32 down;
                 kind 1 (16): the same in two i64; kind 2 (48): 256 bytes in 32 i64, each 0xFF or
                 the child's number; kind 3 (256): one bit a byte in 4 i64
    containers = number of arrays i32, arrays, number of containers i64, last array i32, last
                 position i32
    array      = 0xFE, size i32, of each position: 0x00, or 0x01 kind u8, cardinality i32, values
    values     = kind 0: number of runs u16, of each: first u16, size - 1 u16; kind 1: 65,536 bits;
                 kind 2: sorted u16

Numbers are little-endian. A key is the upper 48 bits of the values (which order as unsigned), the
tree an adaptive radix tree over keys. Values of a container look the same in the portable format,
so nothing here goes through them: containers are moved from one layout to the other, and pyroaring
does the rest. What remains is a loop over containers, each up to 65,536 values.

Reference classes ``HighLowContainer``, ``Art``, ``Containers`` of RoaringBitmap 1.2.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
from pyroaring import BitMap64

from .errors import BadData

_EMPTY, _FILLED = b"\0", b"\1"
_LEAF = 4
_KEY_BYTES = 6
_LABEL_BYTES = {0: 4, 1: 16, 2: 256, 3: 32}
_CHILDREN_MAX = {0: 4, 1: 16, 2: 48, 3: 256}
_RUN, _BITS, _ARRAY = 0, 1, 2
_BITS_BYTES = 8192
_ARRAY_MAX = 4096
_NOT_TRIMMED = -2

_NODE = struct.Struct("<BhB")
_LEAF_BODY = struct.Struct("<6sq")
_ARRAY_HEAD = struct.Struct("<bi")
_CONTAINER_HEAD = struct.Struct("<Bi")
_LONG, _INT, _BYTE, _TWO = (struct.Struct(f"<{kind}") for kind in ("q", "i", "B", "II"))


class _Container(NamedTuple):
    """Values that share their upper 48 bits, as their bytes in both layouts."""

    kind: int
    cardinality: int
    values: bytes


def load_bitmap64(data: bytes) -> BitMap64:
    """The bitmap in these bytes; what follows it is ignored, as Java does.

    Raises:
        BadData: no such bitmap.
    """
    cursor = _Cursor(data)
    tag = cursor.take(1)
    if tag == _EMPTY:
        return BitMap64()
    if tag != _FILLED:
        raise _bad("unknown tag")
    places = _read_tree(cursor)
    containers = _read_containers(cursor)
    if not places.keys() <= containers.keys():
        raise _bad("a container is missing")
    found = {key: _plain(containers[place]) for place, key in places.items()}
    try:
        return BitMap64.deserialize(_portable(found))
    except ValueError as error:
        raise _bad(str(error)) from error


def dump_bitmap64(bitmap: BitMap64) -> bytes:
    """The bytes of a bitmap, which is optimised in place first, as Java does before it writes."""
    bitmap.run_optimize()
    if not bitmap:
        return _EMPTY
    found = list(_from_portable(bitmap.serialize()))
    keys = [key.to_bytes(_KEY_BYTES, "big") for key, _ in found]
    tree = _LONG.pack(len(keys)) + _node(keys, 0, 0)
    return _FILLED + tree + _containers([container for _, container in found])


def _bad(reason: str) -> BadData:
    return BadData("bytes are no 64-bit roaring bitmap", reason=reason)


class _Cursor:
    """Bytes, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if size < 0 or len(taken) != size:
            raise _bad("bytes are missing")
        self._at += size
        return taken

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        try:
            found = layout.unpack_from(self._data, self._at)
        except struct.error as error:
            raise _bad("bytes are missing") from error
        self._at += layout.size
        return found


# Reading


def _read_tree(cursor: _Cursor) -> dict[int, int]:
    """Keys by the places of their containers. Leaves come in ascending order of keys."""
    (count,) = cursor.fields(_LONG)
    leaves: list[tuple[bytes, int]] = []
    due = 1
    while due:
        due -= 1
        kind, children, prefix = cursor.fields(_NODE)
        cursor.take(prefix)
        if kind == _LEAF:
            leaves.append(cursor.fields(_LEAF_BODY))
            continue
        if not 1 <= children <= _CHILDREN_MAX.get(kind, 0):
            raise _bad("a branch makes no sense")
        cursor.take(_LABEL_BYTES[kind])
        due += children
    if len(leaves) != count or any(left[0] >= right[0] for left, right in pairwise(leaves)):
        raise _bad("keys do not ascend, or not all are there")
    places = {place: int.from_bytes(key, "big") for key, place in leaves}
    if len(places) != count:
        raise _bad("keys share a container")
    return places


def _read_containers(cursor: _Cursor) -> dict[int, _Container]:
    """By place: the array in the upper, the position in the lower 32 bits."""
    found: dict[int, _Container] = {}
    (arrays,) = cursor.fields(_INT)
    for array in range(arrays):
        _, size = cursor.fields(_ARRAY_HEAD)
        for position in range(size):
            (mark,) = cursor.fields(_BYTE)
            if mark > 1:
                raise _bad("unknown mark of a container")
            if mark:
                found[array << 32 | position] = _read_container(cursor)
    return found


def _read_container(cursor: _Cursor) -> _Container:
    kind, cardinality = cursor.fields(_CONTAINER_HEAD)
    if kind == _ARRAY:
        return _Container(kind, cardinality, cursor.take(2 * cardinality))
    if kind == _BITS:
        return _Container(kind, cardinality, cursor.take(_BITS_BYTES))
    if kind != _RUN:
        raise _bad("unknown kind of container")
    head = cursor.take(2)
    values = cursor.take(4 * int.from_bytes(head, "little"))
    # Java says how many values there are, too, but does not read it.
    cardinality = int((np.frombuffer(values, "<u2")[1::2].astype(np.int64) + 1).sum())
    return _Container(kind, cardinality, head + values)


def _plain(container: _Container) -> _Container:
    """As the portable format wants it, where the number of values tells bits from arrays."""
    kind, cardinality, values = container
    if not 1 <= cardinality <= 65_536:
        raise _bad("a container has no values, or too many")
    if kind == _BITS and cardinality <= _ARRAY_MAX:
        bits = np.unpackbits(np.frombuffer(values, np.uint8), bitorder="little")
        numbers = np.flatnonzero(bits).astype("<u2")
        return _Container(_ARRAY, len(numbers), numbers.tobytes())
    if kind == _ARRAY and cardinality > _ARRAY_MAX:
        bits = np.zeros(65_536, np.uint8)
        bits[np.frombuffer(values, "<u2")] = 1
        packed = np.packbits(bits, bitorder="little")
        return _Container(_BITS, int(bits.sum()), packed.tobytes())
    return container


# Writing


def _node(keys: Sequence[bytes], depth: int, first: int) -> bytes:
    """The subtree of these keys, which share ``depth`` bytes, and have places from ``first`` on."""
    if len(keys) == 1:
        return _NODE.pack(_LEAF, 0, 0) + _LEAF_BODY.pack(keys[0], first)
    low, high = keys[0], keys[-1]
    at = next(i for i in range(depth, _KEY_BYTES) if low[i] != high[i])
    prefix = low[depth:at]
    groups = [list(group) for _, group in groupby(keys, key=lambda key: key[at])]
    kind = next(k for k, most in _CHILDREN_MAX.items() if len(groups) <= most)
    nodes: list[bytes] = []
    for group in groups:
        nodes.append(_node(group, at + 1, first))
        first += len(group)
    head = _NODE.pack(kind, len(groups), len(prefix)) + prefix
    return head + _labels(kind, [group[0][at] for group in groups]) + b"".join(nodes)


def _labels(kind: int, labels: Sequence[int]) -> bytes:
    """The bytes that lead to the children. Java packs them into numbers from the top down."""
    if kind == 3:
        return sum(1 << label for label in labels).to_bytes(32, "little")
    if kind == 2:
        table = bytearray(b"\xff" * 256)
        for number, label in enumerate(labels):
            table[label] = number
        return _reversed(bytes(table), 8)
    return _reversed(bytes(labels).ljust(_LABEL_BYTES[kind], b"\0"), 4 if kind == 0 else 8)


def _reversed(data: bytes, width: int) -> bytes:
    """Each ``width`` bytes turned around."""
    return b"".join(data[i : i + width][::-1] for i in range(0, len(data), width))


def _containers(containers: Sequence[_Container]) -> bytes:
    count = len(containers)
    parts = [struct.pack("<ibi", 1, _NOT_TRIMMED, count)]
    for kind, cardinality, values in containers:
        parts += [struct.pack("<BBi", 1, kind, cardinality), values]
    return b"".join([*parts, struct.pack("<qii", count, 0, count - 1)])


# The portable format: maps of the upper 32 bits to 32-bit bitmaps

_NO_RUNS, _WITH_RUNS = 12346, 12347
_OFFSETS_FROM = 4


def _portable(found: Mapping[int, _Container]) -> bytes:
    """The containers by key, keys ascending, as one portable bitmap."""
    parts: list[bytes] = []
    for high, keys in groupby(found, key=lambda key: key >> 16):
        parts += [struct.pack("<I", high), _portable32([(k & 0xFFFF, found[k]) for k in keys])]
    return b"".join([_LONG.pack(len(parts) // 2), *parts])


def _portable32(containers: Sequence[tuple[int, _Container]]) -> bytes:
    count = len(containers)
    runs = sum(1 << i for i, (_, c) in enumerate(containers) if c.kind == _RUN)
    head = struct.pack("<II", _NO_RUNS, count)
    if runs:
        flags = runs.to_bytes((count + 7) // 8, "little")
        head = struct.pack("<I", _WITH_RUNS | count - 1 << 16) + flags
    head += b"".join(struct.pack("<HH", low, c.cardinality - 1) for low, c in containers)
    if runs and count < _OFFSETS_FROM:
        return head + b"".join(c.values for _, c in containers)
    at, offsets = len(head) + 4 * count, b""
    for _, container in containers:
        offsets += struct.pack("<I", at)
        at += len(container.values)
    return head + offsets + b"".join(c.values for _, c in containers)


def _from_portable(data: bytes) -> Iterator[tuple[int, _Container]]:
    """Keys, ascending, and their containers; the bytes are pyroaring's own."""
    cursor = _Cursor(data)
    (groups,) = cursor.fields(_LONG)
    for _ in range(groups):
        high, cookie = cursor.fields(_TWO)
        with_runs = cookie & 0xFFFF == _WITH_RUNS
        count = (cookie >> 16) + 1 if with_runs else int.from_bytes(cursor.take(4), "little")
        runs = int.from_bytes(cursor.take((count + 7) // 8), "little") if with_runs else 0
        heads = struct.unpack(f"<{2 * count}H", cursor.take(4 * count))
        if not with_runs or count >= _OFFSETS_FROM:
            cursor.take(4 * count)
        for index in range(count):
            low, cardinality = heads[2 * index], heads[2 * index + 1] + 1
            yield high << 16 | low, _take(cursor, cardinality, run=bool(runs >> index & 1))


def _take(cursor: _Cursor, cardinality: int, *, run: bool) -> _Container:
    if run:
        head = cursor.take(2)
        values = cursor.take(4 * int.from_bytes(head, "little"))
        return _Container(_RUN, cardinality, head + values)
    if cardinality > _ARRAY_MAX:
        return _Container(_BITS, cardinality, cursor.take(_BITS_BYTES))
    return _Container(_ARRAY, cardinality, cursor.take(2 * cardinality))
