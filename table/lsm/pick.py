"""Which runs to merge next, and into which level: Paimon's universal compaction, pure.

In steps, over runs newest first (sizes s0 … sn-1, trigger T):

1. fewer than T runs: nothing is due;
2. *size amplification*: the runs above the last one hold more than A % of it → merge everything;
3. *size ratio*: starting with the newest run, take the next one while what is taken, plus R %, is
   at least as large; two or more → merge them;
4. *file number*: more than T runs → start with n − T + 1 runs and grow as in 3;
5. the output level lies just under the first run left out; it is never level 0: the prefix grows
   until it is not.

How a triggered prefix grows differs between releases, so it is an argument (`Growth`).

Spec: maintenance §2.1; reference class ``mergetree/compact/UniversalCompaction``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Growth(StrEnum):
    """Which release's rule for growing a triggered prefix.

    HEAD takes level-0 and level-1 runs of any size; the released rules stop at the first run that
    is too big, which lets level 1 grow for ever. They differ from each other only in forced picks.
    """

    HEAD = "head"
    RELEASE_2_0 = "2.0"
    RELEASE_1_4 = "1.4"


@dataclass(frozen=True, slots=True)
class RunSize:
    level: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PickOptions:
    """Percents are whole numbers; ``max_level`` is the highest level of the tree."""

    trigger: int = 5
    size_amplification_percent: int = 200
    size_ratio_percent: int = 1
    max_level: int = 5
    growth: Growth = Growth.HEAD
    up_level0: bool = False


@dataclass(frozen=True, slots=True)
class Pick:
    """Merge the first ``count`` runs into ``output_level``; ``reason`` names rule and numbers."""

    count: int
    output_level: int
    reason: str


def pick_full(runs: Sequence[RunSize], options: PickOptions) -> Pick | None:
    """Everything into the highest level; None when nothing is there."""
    if not runs:
        return None
    return Pick(len(runs), options.max_level, f"full: all {len(runs)} runs")


def pick_universal(runs: Sequence[RunSize], options: PickOptions) -> Pick | None:
    """What a minor compaction merges, or None when nothing is due.

    Args:
        runs: newest first: level 0 newest to oldest, then the levels upwards.
    """
    return (
        _size_amplification(runs, options)
        or _size_ratio(runs, options)
        or _file_number(runs, options)
        or _forced(runs, options)
    )


def _size_amplification(runs: Sequence[RunSize], options: PickOptions) -> Pick | None:
    if len(runs) < options.trigger:
        return None
    last = runs[-1].size_bytes
    above = sum(r.size_bytes for r in runs[:-1])
    if 100 * above <= options.size_amplification_percent * last:
        return None
    reason = (
        f"size-amplification: {above} bytes above the last run of {last}, "
        f"more than {options.size_amplification_percent} %"
    )
    return Pick(len(runs), options.max_level, reason)


def _size_ratio(runs: Sequence[RunSize], options: PickOptions) -> Pick | None:
    if len(runs) < options.trigger:
        return None
    count = _grow(runs, 1, options, forced=False)
    reason = f"size-ratio: {count} of {len(runs)} runs within {options.size_ratio_percent} %"
    return _unit(runs, count, options, reason) if count >= 2 else None


def _file_number(runs: Sequence[RunSize], options: PickOptions) -> Pick | None:
    if len(runs) <= options.trigger:
        return None
    count = _grow(runs, len(runs) - options.trigger + 1, options, forced=False)
    reason = f"file-number: {len(runs)} runs, more than {options.trigger}"
    return _unit(runs, count, options, reason)


def _forced(runs: Sequence[RunSize], options: PickOptions) -> Pick | None:
    level0 = sum(1 for r in runs if r.level == 0)
    if not options.up_level0 or level0 == 0:
        return None
    start = level0
    follows = level0 < len(runs) and runs[level0].level == 1
    if options.growth is Growth.RELEASE_2_0 and follows:
        start += 1
    count = _grow(runs, start, options, forced=True)
    return _unit(runs, count, options, f"up-level-0: {level0} level-0 runs")


def _grow(runs: Sequence[RunSize], start: int, options: PickOptions, *, forced: bool) -> int:
    """Length of the prefix that grows from ``start`` runs."""
    count = start
    taken = sum(r.size_bytes for r in runs[:start])
    triggered = forced or start > 1
    for run in runs[start:]:
        too_big = taken * (100 + options.size_ratio_percent) < run.size_bytes * 100
        swallow = options.growth is Growth.HEAD and triggered and run.level <= 1
        if too_big and not swallow:
            break
        taken += run.size_bytes
        count += 1
        triggered = True
    return count


def _unit(runs: Sequence[RunSize], count: int, options: PickOptions, reason: str) -> Pick:
    """The prefix with its output level, grown until that is not level 0."""
    level = options.max_level if count == len(runs) else max(0, runs[count].level - 1)
    while level == 0 and count < len(runs):
        level = runs[count].level
        count += 1
    if count == len(runs):
        level = options.max_level
    return Pick(count, level, reason)
