"""Murmur3 once more, as the specification spells it, to check the vectorised one against."""

from __future__ import annotations

import struct

__all__ = ["murmur_of_row"]

_MASK = 0xFFFFFFFF


def murmur_of_row(row: bytes) -> int:
    """The signed 32-bit hash of a row without its arity prefix (format §7.1)."""
    state = 42
    for (word,) in struct.iter_unpack("<I", row):
        scrambled = _rotate(word * 0xCC9E2D51 & _MASK, 15) * 0x1B873593 & _MASK
        state = _rotate(state ^ scrambled, 13) * 5 + 0xE6546B64 & _MASK
    state ^= len(row)
    state = (state ^ state >> 16) * 0x85EBCA6B & _MASK
    state = (state ^ state >> 13) * 0xC2B2AE35 & _MASK
    state ^= state >> 16
    return state - (1 << 32) if state >> 31 else state


def _rotate(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _MASK
