"""Picks of universal compaction are those of the Java releases, each under its own growth rule."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from support.peers import Peer, Picked

from desilt.table.lsm.pick import Growth, PickOptions, RunSize, pick_universal

SEED = 20261123
CASES = 400
Runs = list[tuple[int, int]]


def any_sizes(rng: random.Random, levels: int) -> Runs:
    """Level 0 of any sizes, some upper levels that grow downwards."""
    level0 = [(0, rng.randrange(200)) for _ in range(rng.randrange(10))]
    upper = sorted(rng.sample(range(1, levels), rng.randrange(levels)))
    return level0 + [(level, rng.randrange(1, 100 * 4**level)) for level in upper]


def near_the_ratio(rng: random.Random, levels: int) -> Runs:
    """Each run about as large as all before it together: the ratio test decides by one."""
    upper = sorted(rng.sample(range(1, levels), rng.randrange(levels)))
    runs: Runs = []
    taken = rng.randrange(1, 1000)
    for level in [0] * rng.randrange(1, 8) + upper:
        size = max(0, taken + taken // 100 + rng.randrange(-1, 3))
        runs.append((level, size))
        taken += size if rng.random() < 0.8 else 0
    return runs


def near_the_amplification(rng: random.Random, levels: int) -> Runs:
    """The last run is about half of the others together: 200 % decides by one."""
    runs: Runs = [(0, rng.randrange(1, 50)) for _ in range(rng.randrange(2, 8))]
    above = sum(size for _, size in runs)
    return [*runs, (levels - 1, max(0, above // 2 + rng.randrange(-1, 2)))]


SHAPES: list[Callable[[random.Random, int], Runs]] = [
    any_sizes,
    near_the_ratio,
    near_the_amplification,
]


def ours(runs: Runs, options: PickOptions) -> Picked | None:
    pick = pick_universal([RunSize(level, size) for level, size in runs], options)
    return None if pick is None else {"output_level": pick.output_level, "count": pick.count}


def theirs(peer: Peer, runs: Runs, options: PickOptions) -> Picked | None:
    return peer.pick(
        runs,
        trigger=options.trigger,
        max_size_amp=options.size_amplification_percent,
        size_ratio=options.size_ratio_percent,
        force_up_level0=options.up_level0,
        num_levels=options.max_level + 1,
    )


@pytest.mark.parametrize("runs_of", SHAPES, ids=lambda shape: shape.__name__)
@pytest.mark.parametrize("up_level0", [False, True], ids=["plain", "forced"])
@pytest.mark.parametrize("growth", [Growth.RELEASE_2_0, Growth.RELEASE_1_4])
def test_picks_agree_with_the_release(
    java: Peer,
    java09: Peer,
    growth: Growth,
    up_level0: bool,
    runs_of: Callable[[random.Random, int], Runs],
) -> None:
    rng = random.Random(SEED)
    peer = java if growth is Growth.RELEASE_2_0 else java09
    picks = 0
    for _ in range(CASES):
        options = PickOptions(
            trigger=rng.randrange(1, 8),
            size_amplification_percent=rng.choice([200, 200, 1, 50, 1000]),
            size_ratio_percent=rng.choice([1, 1, 0, 10, 50]),
            max_level=rng.choice([5, 5, 2, 8]),
            growth=growth,
            up_level0=up_level0,
        )
        runs = runs_of(rng, options.max_level + 1)
        if not runs:
            continue
        found = ours(runs, options)
        assert found == theirs(peer, runs, options), (runs, options)
        picks += found is not None
    assert picks > 0
