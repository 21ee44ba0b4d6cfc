"""Picked files cut into sections, and what is done with each: upgrade, rewrite, or leave alone.

Spec: maintenance §3.1, §3.2; reference classes ``IntervalPartition``, ``MergeTreeCompactTask``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..compaction_rules import CompactionRules, Way
from ..manifest.entry import DataFile
from .run import LsmFile


@dataclass(frozen=True, slots=True)
class Section:
    """Files whose key ranges hang together, as the fewest possible runs (in no special order)."""

    runs: tuple[tuple[LsmFile, ...], ...]

    @property
    def files(self) -> tuple[LsmFile, ...]:
        return tuple(f for run in self.runs for f in run)


def sections(files: Iterable[LsmFile]) -> tuple[Section, ...]:
    """Disjoint sections in key order; every file is in exactly one."""
    ordered = sorted(files, key=lambda f: (f.low, f.high))
    groups: list[list[LsmFile]] = []
    end = None
    for f in ordered:
        if end is None or f.low > end:
            groups.append([])
            end = f.high
        groups[-1].append(f)
        end = max(end, f.high)
    return tuple(Section(_fewest_runs(group)) for group in groups)


def _fewest_runs(ordered: Sequence[LsmFile]) -> tuple[tuple[LsmFile, ...], ...]:
    runs: list[list[LsmFile]] = []
    heap: list[tuple[tuple[object, ...], int]] = []
    for f in ordered:
        if heap and heap[0][0] < f.low:
            _, index = heapq.heappop(heap)
            runs[index].append(f)
        else:
            index = len(runs)
            runs.append([f])
        heapq.heappush(heap, (f.high, index))
    return tuple(tuple(run) for run in runs)


def overlap_bytes(files: Iterable[LsmFile]) -> int:
    """Bytes of files in sections of two or more runs."""
    return sum(f.file.size_bytes for s in sections(files) if len(s.runs) > 1 for f in s.files)


@dataclass(frozen=True, slots=True)
class Treatment:
    """What a unit does. A rewrite is a list of adjacent sections in key order, merged together.

    ``upgrades`` move by metadata, ``scans`` too but are read on the way, each of ``forced`` is
    rewritten alone because its table demands it. Files in none of them stay as they are.
    """

    upgrades: tuple[LsmFile, ...] = ()
    scans: tuple[LsmFile, ...] = ()
    forced: tuple[LsmFile, ...] = ()
    rewrites: tuple[tuple[Section, ...], ...] = ()


def _never(file: DataFile) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class TreatOptions:
    """``small_file_bytes``: files below this are merged with their neighbours rather than moved.

    ``expired``: whether a file holds records that are to vanish.
    """

    output_level: int
    max_level: int
    small_file_bytes: float
    force_rewrite: bool = False
    rules: CompactionRules = field(default_factory=CompactionRules)
    expired: Callable[[DataFile], bool] = _never


def treat(files: Iterable[LsmFile], options: TreatOptions) -> Treatment:
    """Upgrade, rewrite or leave each file of a unit, as Paimon's compaction task does."""
    by_way: dict[Way, list[LsmFile]] = {way: [] for way in Way}
    rewrites: list[tuple[Section, ...]] = []
    pending: list[Section] = []

    def single(f: LsmFile) -> None:
        if _must_rewrite(f, options):
            rewrites.append((alone(f),))
        elif f.file.level != options.output_level:
            way = options.rules.way(f.file, options.output_level, options.max_level)
            by_way[way].append(f)

    def flush() -> None:
        if len(pending) == 1 and len(pending[0].runs) == 1:
            for f in pending[0].files:
                single(f)
        elif pending:
            rewrites.append(tuple(pending))
        pending.clear()

    for section in sections(files):
        if len(section.runs) > 1:
            pending.append(section)
            continue
        for f in section.files:
            if f.file.size_bytes < options.small_file_bytes:
                pending.append(alone(f))
            else:
                flush()
                single(f)
    flush()
    return Treatment(
        upgrades=tuple(by_way[Way.MOVE]),
        scans=tuple(by_way[Way.SCAN]),
        forced=tuple(by_way[Way.REWRITE]),
        rewrites=tuple(rewrites),
    )


def alone(f: LsmFile) -> Section:
    """A file as a section of its own."""
    return Section(((f,),))


def _must_rewrite(f: LsmFile, options: TreatOptions) -> bool:
    deletes = f.file.delete_row_count
    at_top = options.output_level == options.max_level
    return options.force_rewrite or (at_top and deletes != 0) or options.expired(f.file)
