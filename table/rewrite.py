"""Acts out the data part of a plan: reads the picked files, merges, writes new ones, verifies them.

Nobody sees the result until it is committed. Runs in a worker process: a plan comes in as plain
data, a result goes out as plain data.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import msgspec

from .decision import RewritePlan
from .errors import TableError, VerificationFailed
from .handle import TableHandle
from .manifest.entry import DataFile
from .manifest.index import IndexEntry
from .plan import CompactionPlan, directory
from .premises import InputFile
from .rewrite_append import rewrite_appended
from .rewrite_keyed import rewrite_keyed
from .rewrite_part import PartContext
from .vector_files import VectorChanges, VectorWriter, vectors_in

MIB = 1024 * 1024
DEFAULT_MEMORY_BYTES = 512 * MIB


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
    """New files and what they cost. Bytes are file bytes; ``peak_rss_bytes`` is the process's.

    ``deletion_files``: None where the bucket's deletion vectors stay as they are; else the index
    files that replace those of the plan. ``marked``: files that got new deletions.
    """

    task_id: str
    outputs: tuple[DataFile, ...]
    bytes_read: int
    bytes_written: int
    rows_in: int
    rows_out: int
    upgraded: int
    seconds: float
    peak_rss_bytes: int
    changelog: tuple[DataFile, ...] = ()
    deletion_files: tuple[IndexEntry, ...] | None = None
    marked: tuple[InputFile, ...] = ()

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
    written: list[str] = []
    try:
        done = _Done(handle, plan, options, written)
        for part in plan.rewrites:
            done.rewrite(part)
        deletion_files = done.write_vectors()
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
        outputs=tuple(done.outputs),
        bytes_read=plan.input_bytes,
        bytes_written=sum(f.size_bytes for f in (*done.outputs, *done.changelog)),
        rows_in=plan.input_rows,
        rows_out=sum(f.row_count for f in done.outputs),
        upgraded=len(plan.upgrades),
        seconds=time.monotonic() - started,
        peak_rss_bytes=peak_rss_bytes(),
        changelog=tuple(done.changelog),
        deletion_files=deletion_files,
        marked=done.marked,
    )


def peak_rss_bytes() -> int:
    """The largest this process has been."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _discard(handle: TableHandle, written: Sequence[str]) -> None:
    with suppress(TableError):
        handle.storage.delete(written)


class _Done:
    """A plan being acted out part by part; ``written`` collects every path that was begun."""

    def __init__(
        self,
        handle: TableHandle,
        plan: CompactionPlan,
        options: RewriteOptions,
        written: list[str],
    ) -> None:
        self._plan = plan
        self._written = written
        schema = handle.schema(plan.premises.schema_id)
        vectors = vectors_in(handle, plan.deletion_files)
        self._context = PartContext(
            handle=handle,
            schema=schema,
            folder=directory(handle, plan.partition, plan.bucket),
            task_id=plan.task_id,
            output_level=plan.output_level,
            max_level=plan.max_level,
            files=plan.files,
            lookups=tuple(e.file for e in plan.lookups),
            deletions=vectors,
            expiry=plan.expiry,
            memory_bytes=options.memory_bytes,
            verify=options.verify,
            turn=options.turn,
        )
        self._changes = VectorChanges(vectors)
        self.outputs: list[DataFile] = []
        self.changelog: list[DataFile] = []

    def rewrite(self, part: RewritePlan) -> None:
        """One part, verified."""
        act = rewrite_keyed if self._plan.keyed else rewrite_appended
        result = act(self._context, part, self._written)
        self.outputs += result.outputs
        self.changelog += result.changelog
        if part.writes:
            self._changes.forget(part.names)
        self._changes.mark(result.marks)

    @property
    def marked(self) -> tuple[InputFile, ...]:
        """Files that rows were newly deleted from; they must still be there when that is said."""
        levels = {e.file.name: e.file.level for e in self._plan.lookups}
        return tuple(InputFile(name, levels[name]) for name in sorted(self._changes.marked))

    def write_vectors(self) -> tuple[IndexEntry, ...] | None:
        """New index files where vectors changed."""
        if not self._changes.changed:
            return None
        writer = VectorWriter(
            self._context.handle,
            self._context.schema.options,
            self._plan.task_id,
            self._plan.premises.partition,
            self._plan.bucket,
            self._written,
        )
        return writer.write(self._changes.vectors)
