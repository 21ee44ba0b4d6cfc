"""Acts out the data part of a plan: reads the picked files, merges, writes new ones, verifies them.

Nobody sees the result until it is committed. Runs in a worker process: a plan comes in as plain
data, a result goes out as plain data.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Literal

import msgspec
import polars as pl

from . import paths
from .ahead import ahead
from .data_file import read_columns
from .errors import TableError, VerificationFailed
from .evolution import project
from .format.parquet import ParquetSource
from .handle import TableHandle
from .lsm.slices import slices
from .manifest.entry import DataFile, FileSource
from .merge.engine import engine_of
from .merge.reduce import merge
from .merge.rule import MergeRule
from .output import OutputSpec, OutputWriter
from .plan import CompactionPlan, RewritePlan, SectionNames, directory
from .schema import TableSchema
from .verify import AppendExpectation, KeyedExpectation, check_append, check_keyed, quarter

MIB = 1024 * 1024
DEFAULT_MEMORY_BYTES = 512 * MIB
CHUNK_BYTES_MAX = 40 * MIB
CHUNK_BYTES_MIN = 256 * 1024
VERIFY_CHUNK_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class RewriteOptions:
    """How to rewrite.

    ``memory_bytes`` bounds what is decoded at a time; ``verify`` "full" compares every column,
    "quarter" every fourth one, starting at ``turn``.
    """

    memory_bytes: int = DEFAULT_MEMORY_BYTES
    verify: Literal["quarter", "full"] = "quarter"
    turn: int = 0


@dataclass(frozen=True, slots=True)
class RewriteResult:
    """New files and what they cost. Bytes are file bytes; ``peak_rss_bytes`` is the process's."""

    task_id: str
    outputs: tuple[DataFile, ...]
    bytes_read: int
    bytes_written: int
    rows_in: int
    rows_out: int
    upgraded: int
    seconds: float
    peak_rss_bytes: int

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @staticmethod
    def from_json(text: str | bytes) -> RewriteResult:
        return msgspec.json.decode(text, type=RewriteResult)


def rewrite_bucket(
    handle: TableHandle, plan: CompactionPlan, options: RewriteOptions
) -> RewriteResult:
    """Write and verify the plan's new files; on failure none of them is left.

    Raises:
        FileMissing: an input is gone: the plan is stale, or the table is broken.
        VerificationFailed: what was written is not what the inputs say; the files stay, as
            evidence, and are named.
        UnsupportedFeature, CorruptTable, BadData, StorageUnavailable: as named.
    """
    started = time.monotonic()
    schema = handle.schema(plan.premises.schema_id)
    outputs: list[DataFile] = []
    written: list[str] = []
    try:
        for part in plan.rewrites:
            job = _Rewrite(handle, schema, plan, part, options, len(written))
            try:
                outputs += job.run()
            finally:
                written += job.paths
    except TableError as error:
        if isinstance(error, VerificationFailed):
            error.at(evidence=" ".join(written))
        else:
            _discard(handle, written)
        raise error.at(table=plan.table, partition=plan.partition, bucket=plan.bucket) from error
    except BaseException:
        _discard(handle, written)
        raise
    return RewriteResult(
        task_id=plan.task_id,
        outputs=tuple(outputs),
        bytes_read=plan.input_bytes,
        bytes_written=sum(f.size_bytes for f in outputs),
        rows_in=plan.input_rows,
        rows_out=sum(f.row_count for f in outputs),
        upgraded=len(plan.upgrades),
        seconds=time.monotonic() - started,
        peak_rss_bytes=peak_rss_bytes(),
    )


def peak_rss_bytes() -> int:
    """The largest this process has been."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _discard(handle: TableHandle, written: Sequence[str]) -> None:
    with suppress(TableError):
        handle.storage.delete(written)


class _Rewrite:
    """One `RewritePlan` being acted out."""

    def __init__(
        self,
        handle: TableHandle,
        schema: TableSchema,
        plan: CompactionPlan,
        part: RewritePlan,
        options: RewriteOptions,
        first_index: int,
    ) -> None:
        self._handle = handle
        self._schema = schema
        self._plan = plan
        self._part = part
        self._options = options
        self._directory = directory(handle, plan.partition, plan.bucket)
        self._files = {e.file.name: e.file for e in plan.inputs}
        self._rows_seen = 0
        self._writer = OutputWriter(
            handle,
            schema,
            OutputSpec(
                directory=self._directory,
                task_id=plan.task_id,
                level=plan.output_level,
                source=FileSource.COMPACT,
                first_index=first_index,
                first_sequence=self._files[part.names[0]].min_sequence,
            ),
        )

    @property
    def paths(self) -> list[str]:
        """Everything that was begun, finished or not."""
        return self._writer.paths

    def run(self) -> tuple[DataFile, ...]:
        return self._run_keyed() if self._plan.keyed else self._run_append()

    def _run_keyed(self) -> tuple[DataFile, ...]:
        rule, engine = MergeRule.of(self._schema), engine_of(self._schema)
        checked = self._checked_columns()
        drop = self._part.drop_deletes
        expected = KeyedExpectation(rule, checked, drop_deletes=drop)

        def merged() -> Iterator[pl.DataFrame]:
            for section in self._part.sections:
                for frames in slices(self._runs(section), rule):
                    self._rows_seen += sum(f.height for f in frames)
                    expected.observe(frames)
                    yield merge(frames, rule, engine, drop_deletes=drop)

        with closing(ahead(merged())) as frames:
            files = self._writer.write(frames)
        self._check_rows_seen()
        columns = tuple(dict.fromkeys((*rule.columns, *checked)))
        with closing(ahead(self._read_back(files, columns))) as written:
            check_keyed(expected.tally, written, rule, checked)
        return files

    def _run_append(self) -> tuple[DataFile, ...]:
        checked = self._checked_columns()
        expected = AppendExpectation(checked)

        def joined() -> Iterator[pl.DataFrame]:
            for section in self._part.sections:
                for run in section:
                    for frame in self._run(run, 1):
                        self._rows_seen += frame.height
                        expected.observe(frame)
                        yield frame

        with closing(ahead(joined())) as frames:
            files = self._writer.write(frames)
        self._check_rows_seen()
        with closing(ahead(self._read_back(files, checked))) as written:
            check_append(expected.tally, written, checked)
        return files

    def _check_rows_seen(self) -> None:
        """Verification knows only what was read, so all of it must have been."""
        due = sum(self._files[name].row_count for name in self._part.names)
        if self._rows_seen != due:
            raise VerificationFailed("input rows went missing", expected=due, read=self._rows_seen)

    def _checked_columns(self) -> tuple[str, ...]:
        full = self._options.verify == "full"
        columns = quarter(self._schema.names, self._options.turn, full=full)
        return columns or self._schema.names[:1]

    # --- reading --------------------------------------------------------------------------------

    def _runs(self, section: SectionNames) -> list[Iterator[pl.DataFrame]]:
        return [self._run(run, len(section)) for run in section]

    def _run(self, names: Sequence[str], width: int) -> Iterator[pl.DataFrame]:
        """A run's rows in order, chunk by chunk, as columns of the schema in force."""
        share = self._options.memory_bytes // (3 * max(1, width))
        limit = max(CHUNK_BYTES_MIN, min(CHUNK_BYTES_MAX, share))
        for name in names:
            file = self._files[name]
            place = (self._directory, file)
            yield from read_columns(self._handle, self._schema, self._schema.physical, place, limit)

    def _read_back(
        self, files: Sequence[DataFile], columns: Sequence[str]
    ) -> Iterator[pl.DataFrame]:
        wanted = [f for f in self._schema.physical if f.name in columns]
        for file in files:
            path = paths.data_file(self._directory, file.name)
            source = ParquetSource(self._handle.storage, path)
            projection = project(wanted, self._schema.physical, source.columns, path)
            for chunk in source.chunks(VERIFY_CHUNK_BYTES):
                yield projection.apply(source.read(chunk, projection.sources))
