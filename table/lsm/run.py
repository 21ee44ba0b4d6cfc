"""Files of a bucket as sorted runs, newest first.

Spec: maintenance §1; reference classes ``mergetree/Levels``, ``SortedRun``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..datatypes import DataType
from ..errors import CorruptTable
from ..manifest.entry import DataFile
from ..row import decode_row, sort_key

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class LsmFile:
    """A data file with its decoded key bounds, comparable as Paimon orders keys."""

    file: DataFile
    low: Key
    high: Key


@dataclass(frozen=True, slots=True)
class LevelRun:
    """Files of one level whose key ranges ascend and never touch.

    Invariants, checked on construction: at least one file; ``files[i].high < files[i + 1].low``.
    """

    level: int
    files: tuple[LsmFile, ...]

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("a sorted run needs a file")
        for left, right in pairwise(self.files):
            if left.high >= right.low:
                raise ValueError(f"files touch: {left.file.name}, {right.file.name}")

    @property
    def size_bytes(self) -> int:
        return sum(f.file.size_bytes for f in self.files)


def lsm_file(file: DataFile, key_types: Sequence[DataType]) -> LsmFile:
    """The file with its key bounds decoded."""
    try:
        low = sort_key(decode_row(file.min_key, key_types), key_types)
        high = sort_key(decode_row(file.max_key, key_types), key_types)
    except CorruptTable as error:
        raise error.at(file=file.name) from error
    if low > high:
        raise CorruptTable("smallest key is above the largest", file=file.name)
    return LsmFile(file, low, high)


def level0_order(f: LsmFile) -> tuple[int, int, int, str]:
    """Newest first: larger max sequence, smaller min sequence, earlier creation, name."""
    file = f.file
    return (-file.max_sequence, file.min_sequence, file.creation_millis or 0, file.name)


def level_runs(files: Iterable[LsmFile]) -> tuple[LevelRun, ...]:
    """Runs of a bucket: level 0 newest to oldest, then the levels upwards.

    Raises:
        CorruptTable: files of one level above 0 overlap.
    """
    by_level: dict[int, list[LsmFile]] = {}
    for f in files:
        by_level.setdefault(f.file.level, []).append(f)
    runs = [LevelRun(0, (f,)) for f in sorted(by_level.pop(0, []), key=level0_order)]
    for level in sorted(by_level):
        try:
            runs.append(LevelRun(level, tuple(sorted(by_level[level], key=lambda f: f.low))))
        except ValueError as error:
            raise CorruptTable(
                "key ranges overlap inside a level", level=level, reason=str(error)
            ) from error
    return tuple(runs)
