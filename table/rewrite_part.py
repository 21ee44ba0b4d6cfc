"""What the parts of a rewrite are given, and what they give back."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from .data_file import opened_soon, read_columns
from .deletes import Positions, Vectors
from .errors import VerificationFailed
from .evolution import project
from .format.parquet import ParquetSource
from .handle import TableHandle
from .manifest.entry import DataFile, FileSource
from .output import OutputSpec, OutputWriter
from .record_expiry import RecordExpiry
from .schema import Field, TableSchema
from .verify import quarter

KIB = 1024
MIB = 1024 * KIB
CHUNK_BYTES_MAX = 40 * MIB
CHUNK_BYTES_MIN = 256 * KIB
VERIFY_CHUNK_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class PartContext:
    """One plan's surroundings. ``files``: inputs by name; ``deletions``: the bucket's vectors.

    ``memory_bytes`` bounds what is decoded at a time; ``numbers`` end file names.
    """

    handle: TableHandle
    schema: TableSchema
    folder: str
    task_id: str
    output_level: int
    max_level: int
    files: Mapping[str, DataFile]
    lookups: Sequence[DataFile]
    deletions: Vectors
    expiry: RecordExpiry | None
    memory_bytes: int
    verify: Literal["quarter", "full"]
    turn: int
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def checked_columns(self) -> tuple[str, ...]:
        """The value columns that are compared this turn; never none."""
        columns = quarter(self.schema.names, self.turn, full=self.verify == "full")
        return columns or self.schema.names[:1]

    def chunk_bytes(self, runs: int) -> int:
        """How much of each of so many runs may be decoded at a time.

        A chunk and a half of each are held at the most; the rest is for what is merged.
        """
        share = self.memory_bytes * 2 // (5 * max(1, runs))
        return max(CHUNK_BYTES_MIN, min(CHUNK_BYTES_MAX, share))

    def run(self, names: Sequence[str], limit: int) -> Iterator[tuple[DataFile, pl.DataFrame]]:
        """A run's rows in order, chunk by chunk, as columns of the schema in force."""
        for name in names:
            file = self.files[name]
            chunks = read_columns(
                self.handle,
                self.schema,
                self.schema.physical,
                (self.folder, file),
                limit,
                self.deletions.get(name),
            )
            for frame in chunks:
                yield file, frame

    def soon(self, names: Sequence[str]) -> AbstractContextManager[None]:
        """These inputs are opened inside."""
        files = [self.files[name] for name in names]
        return opened_soon(self.handle.storage, self.folder, files)

    def rows_due(self, names: Sequence[str]) -> int:
        """Rows that reading these files must yield."""
        return sum(self.files[n].row_count - len(self.deletions.get(n, ())) for n in names)

    def check_rows_seen(self, names: Sequence[str], seen: int) -> None:
        """Verification knows only what was read, so all of it must have been.

        Raises:
            VerificationFailed: rows are missing.
        """
        due = self.rows_due(names)
        if seen != due:
            raise VerificationFailed("input rows went missing", expected=due, read=seen)

    def writer(self, *, first_sequence: int = 0, changelog: bool = False) -> OutputWriter:
        """For new files of the output level, or changelog files."""
        spec = OutputSpec(
            directory=self.folder,
            task_id=self.task_id,
            level=self.output_level,
            source=FileSource.APPEND if changelog else FileSource.COMPACT,
            numbers=self.numbers,
            first_sequence=first_sequence,
            changelog=changelog,
        )
        return OutputWriter(self.handle, self.schema, spec)

    def read_back(
        self, files: Sequence[DataFile], columns: Sequence[str]
    ) -> Iterator[pl.DataFrame]:
        """Physical columns of files just written, in order."""
        wanted: list[Field] = [f for f in self.schema.physical if f.name in columns]
        for file in files:
            path = f"{self.folder}/{file.name}"
            source = ParquetSource(self.handle.storage, path)
            projection = project(wanted, self.schema.physical, source.columns, path)
            for chunk in source.chunks(VERIFY_CHUNK_BYTES):
                yield projection.apply(source.read(chunk, projection.sources))


@dataclass(frozen=True, slots=True)
class PartResult:
    """New files of one part; ``marks``: rows above the output level that it found and replaced."""

    outputs: tuple[DataFile, ...]
    changelog: tuple[DataFile, ...] = ()
    marks: Vectors = field(default_factory=dict[str, Positions])
