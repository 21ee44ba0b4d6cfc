"""What a scan reads of one bucket, and what it leaves out: plain data, made from metadata alone.

Files are left out where nothing in them can pass the predicate, step by step:

1. *key range*: conjuncts on keys against the smallest and the largest key of a file. All records of
   a key that passes are in files that stay, so no merge changes.
2. *statistics*, conjuncts on keys: the same, by the bounds of the key columns.
3. *statistics*, any conjunct, of files whose rows are final: files of append tables; files that
   overlap no other; files of buckets where no key comes twice.
4. *statistics* of overlapping files (a *section*), all or none. A file whose values cannot pass may
   still hold the newest record of a key, so it must stay as long as another one stays. Where none
   of the section can pass, it depends on the engine:

   - deduplicate and first-row make a row that is one of the records. It lies in one of the files,
     and no row of any of them passes.
   - partial-update lays columns of several records over each other. A column without a function
     holds a value of one of the records, or null (a retract may blank it). So the predicate is held
     against the bounds of all files together, each column nullable; columns with functions may hold
     anything.
   - aggregation makes values that no record has: nothing is left out.

Spec: format §8.6; reference classes ``KeyValueFileStoreScan``, ``MergeTreeSplitGenerator``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .lsm.run import LsmFile, lsm_file
from .lsm.section import alone, sections
from .manifest.entry import DataFile
from .merge.engine import Aggregation, Engine, PartialUpdate, engine_of
from .merge.functions.catalog import PRIMARY_KEY
from .predicate.bounds import may_match
from .predicate.tree import Tree
from .scan_stats import FileStatistics
from .schema import TableSchema

Mask = npt.NDArray[np.bool_]


class Step(StrEnum):
    """What left files out, in the order of the steps."""

    PARTITION = "partition"
    HIDDEN = "level 0 is not visible"
    BUCKET = "bucket"
    KEYS = "key range"
    STATISTICS = "statistics"
    LIMIT = "limit"


class Way(StrEnum):
    """How files are read."""

    ROWS = "rows"  # one by one: their rows are final
    MERGE = "merge"  # together: a key may be in several


@dataclass(frozen=True, slots=True)
class Part:
    """Files read together, as sorted runs; a single file where rows are final."""

    way: Way
    runs: tuple[tuple[DataFile, ...], ...]

    @property
    def files(self) -> tuple[DataFile, ...]:
        return tuple(f for run in self.runs for f in run)


@dataclass(frozen=True, slots=True)
class Cut:
    """How much a step left out; ``bytes`` and ``rows`` None: not known, nobody looked."""

    step: Step
    files: int
    bytes: int | None = None
    rows: int | None = None

    @staticmethod
    def of(step: Step, files: Sequence[DataFile]) -> Cut:
        size, rows = sum(f.size_bytes for f in files), sum(f.row_count for f in files)
        return Cut(step, len(files), size, rows)


@dataclass(frozen=True, slots=True)
class BucketPlan:
    """What is read of one bucket; ``partition`` is its row as bytes, ``text`` its directory."""

    partition: bytes
    text: str
    bucket: int
    parts: tuple[Part, ...]
    cuts: tuple[Cut, ...] = ()


class KeyTest(Protocol):
    """Says which files may hold wanted keys, by their key ranges."""

    def files(self, files: Sequence[LsmFile]) -> Mask: ...


@dataclass(frozen=True, slots=True)
class Tests:
    """What files are held against; None: nothing.

    ``on_keys``: conjuncts on keys alone; ``whole``: all of them.
    """

    keys: KeyTest | None = None
    stats: FileStatistics | None = None
    on_keys: Tree | None = None
    whole: Tree | None = None


def plan_files(
    files: Sequence[DataFile], schema: TableSchema, tests: Tests
) -> tuple[tuple[Part, ...], tuple[Cut, ...]]:
    """The parts of a bucket that must be read, in the order in which they are read, and the rest.

    Args:
        files: all visible files of the bucket.

    Raises:
        CorruptTable: key ranges that are none.
    """
    planner = _Planner(schema, tests)
    parts = planner.keyed(files) if schema.keyed else planner.appended(files)
    cuts = tuple(Cut.of(step, gone) for step, gone in planner.gone.items() if gone)
    return tuple(parts), cuts


@dataclass(slots=True)
class _Planner:
    schema: TableSchema
    tests: Tests
    gone: dict[Step, list[DataFile]] = field(default_factory=dict[Step, list[DataFile]])

    def appended(self, files: Sequence[DataFile]) -> list[Part]:
        ordered = sorted(files, key=lambda f: (f.min_sequence, f.creation_millis or 0, f.name))
        return [Part(Way.ROWS, ((f,),)) for f in self._by_stats(ordered, self.tests.whole)]

    def keyed(self, files: Sequence[DataFile]) -> list[Part]:
        types = self.schema.types(self.schema.trimmed_keys)
        ranged = [lsm_file(f, types) for f in files]
        distinct = keys_are_distinct(files, self.schema)
        if self.tests.keys is not None and ranged:
            ranged = self._kept(ranged, self.tests.keys.files(ranged), Step.KEYS)
        left = {f.name for f in self._by_stats([f.file for f in ranged], self.tests.on_keys)}
        cut = sections(f for f in ranged if f.file.name in left)
        if distinct:
            cut = tuple(alone(f) for section in cut for f in section.files)
        return self._final([
            Part(
                Way.ROWS if len(section.runs) == 1 else Way.MERGE,
                tuple(tuple(f.file for f in run) for run in section.runs),
            )
            for section in cut
        ])  # fmt: skip

    def _final(self, parts: list[Part]) -> list[Part]:
        """The parts of which a row may pass."""
        stats, tree = self.tests.stats, self.tests.whole
        if stats is None or tree is None or not parts:
            return parts
        files = [f for p in parts for f in p.files]
        passes = dict(zip((f.name for f in files), may_match(tree, stats.of(files)), strict=True))
        engine = engine_of(self.schema)
        kept: list[Part] = []
        for part in parts:
            if part.way is Way.MERGE and not _one_record(engine):
                may = _merged_may(engine, part.files, stats, tree)
            else:
                may = any(passes[f.name] for f in part.files)
            if may:
                kept.append(part)
            else:
                self.gone.setdefault(Step.STATISTICS, []).extend(part.files)
        return kept

    def _by_stats(self, files: Sequence[DataFile], tree: Tree | None) -> list[DataFile]:
        """Files of which a row may pass."""
        stats = self.tests.stats
        if stats is None or tree is None or not files:
            return list(files)
        mask = may_match(tree, stats.of(files))
        self._count([f for f, may in zip(files, mask, strict=True) if not may], Step.STATISTICS)
        return [f for f, may in zip(files, mask, strict=True) if may]

    def _kept(self, files: Sequence[LsmFile], mask: Mask, step: Step) -> list[LsmFile]:
        self._count([f.file for f, may in zip(files, mask, strict=True) if not may], step)
        return [f for f, may in zip(files, mask, strict=True) if may]

    def _count(self, files: Sequence[DataFile], step: Step) -> None:
        self.gone.setdefault(step, []).extend(files)


def keys_are_distinct(files: Sequence[DataFile], schema: TableSchema) -> bool:
    """Whether no two rows have one key, so that files need no merging (format §8.6)."""
    options = schema.options
    clean = all(f.level != 0 and not f.delete_row_count for f in files)
    return clean and (options.deletion_vectors or options.merge_engine == "first-row")


def _one_record(engine: Engine) -> bool:
    """Whether a merged row is one of the records of its key."""
    return not isinstance(engine, PartialUpdate | Aggregation)


def _merged_may(
    engine: Engine, files: Sequence[DataFile], stats: FileStatistics, tree: Tree
) -> bool:
    """Whether a row made of records of these files may pass."""
    if not isinstance(engine, PartialUpdate):
        return True
    plain = [c.name for c in engine.columns if c.function in (None, PRIMARY_KEY)]
    return bool(may_match(tree, stats.of(files, plain).united())[0])


def sure_rows(part: Part, deleted: Mapping[str, int], *, keyed: bool) -> int:
    """Rows that reading the part gives at least.

    Args:
        deleted: rows that deletion vectors take, by file.
        keyed: files may hold retracts, and older ones do not say how many.
    """
    if part.way is Way.MERGE:
        return 0
    retracts = [f.row_count if f.delete_row_count is None and keyed else f.delete_row_count or 0
                for f in part.files]  # fmt: skip
    counted = zip(part.files, retracts, strict=True)
    return sum(max(0, f.row_count - gone - deleted.get(f.name, 0)) for f, gone in counted)
