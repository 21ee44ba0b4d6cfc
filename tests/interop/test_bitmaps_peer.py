"""Roaring bitmaps: Java reads ours as it reads its own, and we read Java's."""

from __future__ import annotations

import random

import polars as pl
import pytest
from pyroaring import BitMap
from support.peer_bitmaps import bitmap_unions, bitmap_values, bitmaps_of
from support.peers import Peer

from desilt.table.roaring import union_rbm32, union_rbm64
from desilt.table.roaring64 import load_bitmap64

BITS = {True: 64, False: 32}


@pytest.fixture(params=["java", "java09"])
def peer(request: pytest.FixtureRequest) -> Peer:
    found = request.getfixturevalue(str(request.param))
    assert isinstance(found, Peer)
    return found


def spread(step: int, count: int) -> list[int]:
    return [step * i for i in range(count)]


SETS: dict[str, list[int]] = {
    "nothing": [],
    "zero": [0],
    "one negative": [-1],
    "both signs": [-3, -1, 0, 1, 7],
    "a run": list(range(1000)),
    "a full container": list(range(65_536)),
    "many containers in runs": list(range(-70_000, 200_000)),
    "bits": spread(2, 10_000),
    "just an array": spread(3, 4096),
    "just bits": spread(3, 4097),
    "one key a container": spread(65_536, 60),
}
WIDE_SETS: dict[str, list[int]] = {
    "ends of the range": [-(2**63), 2**63 - 1, 0, -1],
    # Children of one branch: 4, 5, 16, 17, 48, 49, 255, 256 of them, at the last byte of the key
    # and at the first.
    **{f"{n} low branches": [(1 << 40) + (i << 16) for i in range(n)] for n in (4, 5, 16, 17)},
    **{f"{n} low branches": spread(1 << 16, n) for n in (48, 49, 255, 256, 300)},
    **{f"{n} high branches": [(i << 56) - (1 << 63) for i in range(n)] for n in (2, 17, 49, 256)},
    "branches below branches": [(i << 48) + (j << 24) for i in range(20) for j in range(60)],
    "long prefixes": [0x7000_0000_0000_0000, 0x7000_0000_0001_0000, 0x7000_0000_0002_0001],
}  # fmt: skip


def sets(*, wide: bool) -> list[list[int]]:
    return [*SETS.values(), *(WIDE_SETS.values() if wide else ())]


def signed(values: list[int], bits: int) -> list[int]:
    return [v - (1 << bits) if v >> (bits - 1) else v for v in values]


def read(data: bytes, *, wide: bool) -> list[int]:
    return signed(list(load_bitmap64(data) if wide else BitMap.deserialize(data)), BITS[wide])


def ordered(values: list[int], bits: int) -> list[int]:
    """As unsigned numbers order, which is how both libraries do."""
    return sorted(set(values), key=lambda value: value % (1 << bits))


def random_sets(seed: int, bits: int) -> list[list[int]]:
    rng = random.Random(seed)
    found: list[list[int]] = []
    for _ in range(30):
        values: list[int] = []
        for _ in range(rng.choice([1, 3, 20])):
            start = rng.getrandbits(rng.choice([8, 20, bits - 1]))
            size, step = rng.choice([(1, 1), (5, 3), (3000, 1), (3000, 2), (300, 65_537)])
            values += [start + step * i for i in range(size)]
        found.append(signed([v % (1 << bits) for v in values], bits))
    return found


@pytest.mark.parametrize("wide", [False, True], ids=["rbm32", "rbm64"])
def test_bitmaps_of_java_are_read(peer: Peer, wide: bool) -> None:
    given = [*sets(wide=wide), *random_sets(1, BITS[wide])]
    made = bitmaps_of(peer, given, wide=wide)

    assert [read(data, wide=wide) for data in made] == [ordered(v, BITS[wide]) for v in given]


@pytest.mark.parametrize("wide", [False, True], ids=["rbm32", "rbm64"])
def test_unions_are_equal_for_java(peer: Peer, wide: bool) -> None:
    """Every set with every other, and random ones."""
    given = [*sets(wide=wide), *random_sets(2, BITS[wide])]
    made = bitmaps_of(peer, given, wide=wide)
    pairs = [(i, (7 * i + 3) % len(made)) for i in range(len(made))]
    left = pl.Series("left", [made[i] for i, _ in pairs])
    right = pl.Series("right", [made[j] for _, j in pairs])
    union = union_rbm64 if wide else union_rbm32
    ours = union(left, right)

    assert (ours.name, ours.dtype) == ("left", pl.Binary())
    wanted = [ordered([*given[i], *given[j]], BITS[wide]) for i, j in pairs]
    assert bitmap_values(peer, ours.to_list(), wide=wide) == wanted
    theirs = bitmap_unions(peer, list(zip(left, right, ours, strict=True)), wide=wide)
    assert all(same for _, same in theirs)
    assert [read(data, wide=wide) for data, _ in theirs] == wanted


def test_bytes_of_a_single_container_equal_javas(java: Peer) -> None:
    """Java numbers containers as they come and leaves room for more; a single one has no choice."""
    single = [values for values in SETS.values() if len({v >> 16 for v in values}) <= 1]
    made = bitmaps_of(java, single, wide=True)

    ours = union_rbm64(pl.Series(made), pl.Series(made))
    assert ours.to_list() == made
