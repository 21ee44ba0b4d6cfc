"""Picked files cut into sections, and what is done with each: upgrade, rewrite, or leave alone.

Spec: maintenance §3.1, §3.2; reference classes ``IntervalPartition``, ``MergeTreeCompactTask``.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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
    """What a unit does: ``upgrades`` by metadata, each of ``rewrites`` merged into new files.

    A rewrite is a list of adjacent sections in key order. Files in neither stay as they are.
    """

    upgrades: tuple[LsmFile, ...]
    rewrites: tuple[tuple[Section, ...], ...]


@dataclass(frozen=True, slots=True)
class TreatOptions:
    """``small_file_bytes``: files below this are merged with their neighbours rather than moved."""

    output_level: int
    max_level: int
    small_file_bytes: float
    force_rewrite: bool = False


def treat(files: Iterable[LsmFile], options: TreatOptions) -> Treatment:
    """Upgrade, rewrite or leave each file of a unit, as Paimon's compaction task does."""
    upgrades: list[LsmFile] = []
    rewrites: list[tuple[Section, ...]] = []
    pending: list[Section] = []

    def single(f: LsmFile) -> None:
        if _must_rewrite(f, options):
            rewrites.append((Section(((f,),)),))
        elif f.file.level != options.output_level:
            upgrades.append(f)

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
                pending.append(Section(((f,),)))
            else:
                flush()
                single(f)
    flush()
    return Treatment(tuple(upgrades), tuple(rewrites))


def _must_rewrite(f: LsmFile, options: TreatOptions) -> bool:
    deletes = f.file.delete_row_count
    return options.force_rewrite or (options.output_level == options.max_level and deletes != 0)
