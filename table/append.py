"""Which files of an append table are packed together: pure.

Two shapes. In a table without buckets any files may be joined: small ones are packed into bins by
size. In fixed buckets rows keep their order: only neighbours in the queue are joined.

Spec: maintenance §7.1, §7.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .manifest.entry import DataFile
from .options import TableOptions


@dataclass(frozen=True, slots=True)
class PackOptions:
    """Bytes, bytes, bytes, count; ``small_bytes``: files below this are candidates."""

    target_bytes: int
    small_bytes: float
    open_cost_bytes: int
    min_files: int
    force: bool = False

    @staticmethod
    def of(options: TableOptions) -> PackOptions:
        return PackOptions(
            options.target_file_bytes,
            options.small_file_bytes,
            options.open_file_cost,
            options.min_file_num,
            options.force_rewrite_all,
        )


Group = tuple[DataFile, ...]


def pack_unordered(files: Sequence[DataFile], options: PackOptions) -> tuple[Group, ...]:
    """Bins of small files, smallest first; what fills no bin stays when it is too few."""
    small = sorted(
        (f for f in files if f.size_bytes < options.small_bytes),
        key=lambda f: (f.size_bytes, f.name),
    )
    bins: list[Group] = []
    current: list[DataFile] = []
    weight = 0
    for file in small:
        current.append(file)
        weight += file.size_bytes + options.open_cost_bytes
        if len(current) > 1 and weight >= 2 * options.target_bytes:
            bins.append(tuple(current))
            current, weight = [], 0
    if len(current) >= options.min_files:
        bins.append(tuple(current))
    return tuple(bins)


def pack_all_unordered(files: Sequence[DataFile], options: PackOptions) -> tuple[Group, ...]:
    """Full compaction without buckets: every small file, however few, if there are two."""
    chosen = [f for f in files if options.force or f.size_bytes < options.small_bytes]
    bins = pack_unordered(chosen, options)
    packed = {f.name for group in bins for f in group}
    left = [f for f in chosen if f.name not in packed]
    if len(left) > 1 or (left and options.force):
        bins = (*bins, tuple(sorted(left, key=lambda f: (f.min_sequence, f.name))))
    return bins


def queue(files: Sequence[DataFile]) -> tuple[DataFile, ...]:
    """Oldest first."""
    return tuple(sorted(files, key=lambda f: (f.min_sequence, f.creation_millis or 0, f.name)))


def pack_ordered(files: Sequence[DataFile], options: PackOptions) -> tuple[Group, ...]:
    """The first window of neighbours worth joining, or nothing."""
    window: list[DataFile] = []
    total = 0
    for file in queue(files):
        window.append(file)
        total += file.size_bytes
        if len(window) >= options.min_files:
            return (tuple(window),)
        while total >= 2 * options.target_bytes and window:
            total -= window.pop(0).size_bytes
    return ()


def pack_all_ordered(files: Sequence[DataFile], options: PackOptions) -> tuple[Group, ...]:
    """Everything behind the leading large files, when it is mostly small files."""
    rest = list(queue(files))
    while rest and rest[0].size_bytes >= options.small_bytes and not options.force:
        rest.pop(0)
    small = sum(1 for f in rest if f.size_bytes < options.small_bytes)
    worth = len(rest) >= 3 and small > len(rest) - small
    return (tuple(rest),) if rest and (options.force or worth) else ()
