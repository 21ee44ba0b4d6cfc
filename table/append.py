"""Which files of an append table are packed together: pure.

Two shapes. In a table without buckets any files may be joined: small ones are packed into bins by
size. In fixed buckets rows keep their order: only neighbours in the queue are joined.

Spec: maintenance §7.1, §7.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .manifest.entry import DataFile
from .options import TableOptions


@dataclass(frozen=True, slots=True)
class PackOptions:
    """Bytes, bytes, bytes, count; ``small_bytes``: files below this are candidates.

    ``deleted``: rows that deletion vectors take from each file that has one; a file of which more
    than ``delete_ratio`` is gone is a candidate, too. ``vectors``: the table has such vectors.
    """

    target_bytes: int
    small_bytes: float
    open_cost_bytes: int
    min_files: int
    force: bool = False
    vectors: bool = False
    delete_ratio: float = 0.2
    deleted: Mapping[str, int] = field(default_factory=dict[str, int])

    @staticmethod
    def of(options: TableOptions, deleted: Mapping[str, int] | None = None) -> PackOptions:
        return PackOptions(
            options.target_file_bytes,
            options.small_file_bytes,
            options.open_file_cost,
            options.min_file_num,
            options.force_rewrite_all,
            options.deletion_vectors,
            options.delete_ratio_threshold,
            deleted or {},
        )

    def small(self, file: DataFile) -> bool:
        return file.size_bytes < self.small_bytes

    def holey(self, file: DataFile) -> bool:
        """So much of it is deleted that it is worth rewriting alone."""
        return self.deleted.get(file.name, 0) > file.row_count * self.delete_ratio

    def candidate(self, file: DataFile) -> bool:
        return self.small(file) or self.holey(file)


Group = tuple[DataFile, ...]


def pack_unordered(files: Sequence[DataFile], options: PackOptions) -> tuple[Group, ...]:
    """Bins of candidates, smallest first; what fills no bin stays when it is too few.

    Files that have lost too many of their rows do not wait for company.
    """
    chosen = sorted(
        (f for f in files if options.candidate(f)), key=lambda f: (f.size_bytes, f.name)
    )
    bins: list[Group] = []
    current: list[DataFile] = []
    weight = 0
    for file in chosen:
        current.append(file)
        weight += file.size_bytes + options.open_cost_bytes
        if len(current) > 1 and weight >= 2 * options.target_bytes:
            bins.append(tuple(current))
            current, weight = [], 0
    if len(current) >= options.min_files or any(options.holey(f) for f in current):
        bins.append(tuple(current))
    return tuple(bins)


def pack_all_unordered(files: Sequence[DataFile], options: PackOptions) -> tuple[Group, ...]:
    """Full compaction without buckets: every candidate and every file with deleted rows, however
    few, if there are two or something is deleted."""
    chosen = [
        f for f in files if options.force or options.candidate(f) or options.deleted.get(f.name, 0)
    ]
    bins = pack_unordered(chosen, options)
    packed = {f.name for group in bins for f in group}
    left = [f for f in chosen if f.name not in packed]
    worth = len(left) > 1 or options.force or any(f.name in options.deleted for f in left)
    if left and worth:
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
    """Everything behind the leading large files without deleted rows, when it is mostly small
    files, or rows are deleted."""
    rest = list(queue(files))
    while rest and not options.force and not options.small(rest[0]) and (
        rest[0].name not in options.deleted
    ):  # fmt: skip
        rest.pop(0)
    small = sum(1 for f in rest if options.small(f))
    holes = any(f.name in options.deleted for f in rest)
    worth = (len(rest) >= 3 and small > len(rest) - small) or (options.vectors and holes)
    return (tuple(rest),) if rest and (options.force or worth) else ()
