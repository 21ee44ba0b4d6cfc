"""Deletion vectors: which rows of a data file are gone, by their position in it.

In memory a vector is an ascending array of positions. An index file holds the vectors of many data
files: a version byte, then one after the other in the 32-bit or the 64-bit layout, which readers
tell apart by a magic number. Where each lies stands in the index manifest.

Spec: format §10.1, §10.3; reference classes ``deletionvectors/*``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap, BitMap64

from .errors import CorruptTable
from .manifest.index import DeletionRange
from .storage import Storage

Positions = npt.NDArray[np.int64]
Vectors = Mapping[str, Positions]
"""Deleted positions by the name of the data file."""

VERSION = b"\x01"
MAGIC_32 = 1581511376
MAGIC_64 = 1681511377
_BE, _LE = struct.Struct(">i"), struct.Struct("<i")
_CRC = struct.Struct(">I")
_POSITIONS_32_MAX = 2**31 - 1
"""Java's 32-bit layout takes positions up to here."""


def no_positions() -> Positions:
    """A vector that deletes nothing."""
    return np.zeros(0, dtype=np.int64)


def united(left: Positions, right: Positions) -> Positions:
    """Both vectors as one."""
    return np.union1d(left, right).astype(np.int64)


# --- writing ------------------------------------------------------------------------------------


def encode_vectors(vectors: Vectors, *, wide: bool) -> tuple[bytes, tuple[DeletionRange, ...]]:
    """An index file's bytes, and where each vector lies; empty vectors are left out.

    Args:
        wide: the 64-bit layout.
    """
    out = bytearray(VERSION)
    ranges: list[DeletionRange] = []
    for name, positions in vectors.items():
        if len(positions) == 0:
            continue
        body = _body(positions, wide=wide)
        length = len(body) + 8 if wide else len(body)
        ranges.append(DeletionRange(name, len(out), length, len(positions)))
        out += _BE.pack(len(body)) + body + _CRC.pack(zlib.crc32(body))
    return bytes(out), tuple(ranges)


def _body(positions: Positions, *, wide: bool) -> bytes:
    if wide:
        bitmap: Any = BitMap64(positions.astype(np.uint64))
        bitmap.run_optimize()
        return _LE.pack(MAGIC_64) + bytes(bitmap.serialize())
    if int(positions[-1]) > _POSITIONS_32_MAX:
        raise ValueError(f"position beyond the 32-bit layout: {positions[-1]}")
    narrow: Any = BitMap(positions.astype(np.uint32))
    return _BE.pack(MAGIC_32) + bytes(narrow.serialize())


# --- reading ------------------------------------------------------------------------------------


def read_vectors(
    storage: Storage,
    path: str,
    ranges: Collection[DeletionRange],
) -> dict[str, Positions]:
    """The vectors that lie at these places of an index file.

    Raises:
        FileMissing: no such file.
        CorruptTable: its bytes are not what the index manifest says.
    """
    if not ranges:
        return {}
    data = storage.read(path)
    if data[:1] != VERSION:
        raise CorruptTable("unknown version of a deletion file", version=data[:1].hex(), file=path)
    return {found.data_file: _decoded(data, found, path) for found in ranges}


def _decoded(data: bytes, found: DeletionRange, path: str) -> Positions:
    try:
        positions = _vector(data, found)
    except (struct.error, ValueError, IndexError) as error:
        raise CorruptTable(
            "deletion vector is not readable", data_file=found.data_file, reason=str(error),
            file=path,
        ) from error  # fmt: skip
    if found.cardinality is not None and found.cardinality != len(positions):
        raise CorruptTable(
            "deletion vector has another number of rows", data_file=found.data_file,
            manifest=found.cardinality, found=len(positions), file=path,
        )  # fmt: skip
    return positions


def _vector(data: bytes, found: DeletionRange) -> Positions:
    (size,) = _BE.unpack_from(data, found.offset)
    start = found.offset + _BE.size
    body = data[start : start + size]
    if size < 8 or len(body) != size:
        raise ValueError("vector is cut off")
    (crc,) = _CRC.unpack_from(data, start + size)
    if crc != zlib.crc32(body):
        raise ValueError("checksum differs")
    if _BE.unpack_from(body)[0] == MAGIC_32:
        bitmap: Any = BitMap.deserialize(body[4:])
        return _array(bitmap)
    if _LE.unpack_from(body)[0] == MAGIC_64:
        wide: Any = BitMap64.deserialize(body[4:])
        return _array(wide)
    raise ValueError("magic number is unknown")


def _array(bitmap: Any) -> Positions:
    return np.asarray(bitmap.to_array()).astype(np.int64)
