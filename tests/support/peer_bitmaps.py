"""What Java peers make of roaring bitmaps; bytes are hex on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from .peers import Peer


def bitmaps_of(peer: Peer, values: Sequence[Sequence[int]], *, wide: bool) -> list[bytes]:
    """The library's bytes for each set of (signed) values."""
    made = peer.call("bitmaps_of", values=[list(v) for v in values], wide=wide)
    return [bytes.fromhex(text) for text in made]


def bitmap_values(peer: Peer, bitmaps: Sequence[bytes], *, wide: bool) -> list[list[int]]:
    """The (signed) values that the library reads out of each bitmap, ordered as unsigned."""
    found = peer.call("bitmap_values", bitmaps=[b.hex() for b in bitmaps], wide=wide)
    return cast("list[list[int]]", found)


def bitmap_unions(
    peer: Peer, triples: Sequence[tuple[bytes, bytes, bytes]], *, wide: bool
) -> list[tuple[bytes, bool]]:
    """The library's union of the first two, and whether it equals the third to it."""
    asked = [[b.hex() for b in three] for three in triples]
    made = peer.call("bitmap_unions", triples=asked, wide=wide)
    return [(bytes.fromhex(text), same) for text, same in made]
