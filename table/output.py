"""New data files: frames in, finished files with their metadata out, rolled at the target size.

Every byte goes through the storage's sink; statistics come from the written footer. Files that are
not finished when something fails are removed by whoever asked for them: their names all start with
the task's prefix.

Spec: format §8.4, §8.5; maintenance §3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from . import paths
from .datatypes import FLOATS, DataType
from .errors import BadData, StorageUnavailable, first_line
from .format.parquet import ParquetEncoding, ParquetSource, encode
from .handle import TableHandle
from .manifest.entry import DataFile, FileSource
from .merge.rule import RETRACT_KINDS
from .row import Row, encode_row, row_from_frame
from .schema import KEY_PREFIX, KIND, SEQUENCE, TableSchema
from .stats import EMPTY_STATS, KEY_MODE, SimpleStats, StatsMode, collect_stats

EMPTY_KEY = encode_row((), ())


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """Where new files of one bucket go and what they are.

    ``numbers``: end the names of a task's files, each once. ``first_sequence``: for append tables,
    the number of the first row; keyed rows carry their own. ``changelog``: the files hold changes,
    in which keys repeat.
    """

    directory: str
    task_id: str
    level: int
    source: FileSource
    numbers: Iterator[int]
    first_sequence: int = 0
    changelog: bool = False


class OutputWriter:
    """Writes the files of one task in one bucket.

    Args:
        schema: rows are written with all its physical columns.
    """

    def __init__(self, handle: TableHandle, schema: TableSchema, spec: OutputSpec) -> None:
        self._handle = handle
        self._schema = schema
        self._spec = spec
        options = schema.options
        compression = options.changelog_compression if spec.changelog else options.compression
        self._encoding = ParquetEncoding.of(schema.physical, options, compression)
        self._prefix = options.changelog_prefix if spec.changelog else options.data_file_prefix
        self._stats_mode = options.changelog_stats_mode if spec.changelog else options.stats_mode
        self._sequence = spec.first_sequence
        self.paths: list[str] = []

    def write(self, frames: Iterator[pl.DataFrame]) -> tuple[DataFile, ...]:
        """All rows of ``frames`` (physical columns, in order) as one or more files; () for none.

        Keyed rows must come in key order; keys must not repeat, except in changelogs.

        Raises:
            StorageUnavailable, BadData: the file being written is thrown away, finished ones stay.
        """
        files: list[DataFile] = []
        stream = _Stream(frames)
        while stream.more():
            files.append(self._one_file(stream))
        return tuple(files)

    def _one_file(self, stream: _Stream) -> DataFile:
        name = f"{self._prefix}{self._spec.task_id}-{next(self._spec.numbers)}.parquet"
        path = paths.data_file(self._spec.directory, name)
        self.paths.append(path)
        sink = self._handle.storage.open_sink(path)
        facts = _Facts()
        target = self._schema.options.target_file_bytes
        try:
            first = stream.peek()
            row_bytes = max(1, int(first.estimated_size()) // max(1, first.height))
            frames = stream.until(lambda: sink.size_bytes >= target)
            encode(_counted(frames, facts, self._schema), sink.file, self._encoding, row_bytes)
            sink.close()
        except StorageUnavailable as error:
            sink.abort()
            raise error.at(file=path) from error
        except pl.exceptions.PolarsError as error:
            sink.abort()
            raise BadData("rows cannot be encoded", reason=first_line(error), file=path) from error
        except BaseException:
            sink.abort()
            raise
        return self._describe(name, path, sink.size_bytes, facts)

    def _describe(self, name: str, path: str, size: int, facts: _Facts) -> DataFile:
        schema = self._schema
        metadata = ParquetSource(self._handle.storage, path).metadata
        keys = schema.trimmed_keys
        key_types = schema.types(keys)
        key_stats, min_key, max_key = EMPTY_STATS, EMPTY_KEY, EMPTY_KEY
        if schema.keyed:
            columns = [KEY_PREFIX + k for k in keys]
            modes = [KEY_MODE] * len(keys)
            key_stats = collect_stats(metadata, columns, key_types, modes, dense=False)[0]
            min_key = encode_row(_key(facts.first, columns, key_types), key_types)
            max_key = encode_row(_key(facts.last, columns, key_types), key_types)
        value_stats, value_columns = self._value_stats(metadata, facts)
        low, high = facts.min_sequence, facts.max_sequence
        if not schema.keyed:
            low, high = self._sequence, self._sequence + facts.rows - 1
            self._sequence += facts.rows
        return DataFile(
            name=name,
            size_bytes=size,
            row_count=facts.rows,
            min_key=min_key,
            max_key=max_key,
            min_sequence=low,
            max_sequence=high,
            schema_id=schema.id,
            level=self._spec.level,
            key_stats=key_stats,
            value_stats=value_stats,
            creation_millis=self._handle.world.creation_millis(),
            delete_row_count=facts.deletes,
            file_source=int(self._spec.source),
            value_stats_cols=value_columns,
        )

    def _value_stats(
        self, metadata: object, facts: _Facts
    ) -> tuple[SimpleStats, tuple[str, ...] | None]:
        schema, options = self._schema, self._schema.options
        modes = [
            StatsMode.parse(options.text(f"fields.{n}.stats-mode", self._stats_mode))
            for n in schema.names
        ]
        return collect_stats(
            metadata,
            schema.names,
            schema.types(schema.names),
            modes,
            dense=options.dense_stats,
            nan_free=set(schema.names) - facts.with_nan,
        )


def _key(frame: pl.DataFrame, columns: list[str], types: Sequence[DataType]) -> Row:
    return row_from_frame(frame, 0, columns, types)


class _Stream:
    """Frames that can be looked at before they are taken, so that no empty file is begun."""

    def __init__(self, frames: Iterator[pl.DataFrame]) -> None:
        self._frames = frames
        self._next: pl.DataFrame | None = None

    def more(self) -> bool:
        while self._next is None:
            frame = next(self._frames, None)
            if frame is None:
                return False
            if frame.height:
                self._next = frame
        return True

    def peek(self) -> pl.DataFrame:
        if not self.more() or self._next is None:
            raise ValueError("the stream has ended")
        return self._next

    def until(self, full: Callable[[], bool]) -> Iterator[pl.DataFrame]:
        """At least one frame, then more until ``full`` says the file is."""
        begun = False
        while self.more() and not (begun and full()):
            frame = self.peek()
            self._next = None
            begun = True
            yield frame


@dataclass(slots=True)
class _Facts:
    """What is known of the rows that went into a file."""

    rows: int = 0
    deletes: int = 0
    min_sequence: int = 0
    max_sequence: int = 0
    first: pl.DataFrame = field(default_factory=pl.DataFrame)
    last: pl.DataFrame = field(default_factory=pl.DataFrame)
    with_nan: set[str] = field(default_factory=set[str])


def _counted(
    frames: Iterator[pl.DataFrame], facts: _Facts, schema: TableSchema
) -> Iterator[pl.DataFrame]:
    floats = [f.name for f in schema.fields if f.type.root in FLOATS]
    for frame in frames:
        for name in floats:
            if name not in facts.with_nan and frame.get_column(name).is_nan().any():
                facts.with_nan.add(name)
        if schema.keyed:
            sequence = frame.get_column(SEQUENCE)
            low, high = _whole(sequence.min()), _whole(sequence.max())
            facts.min_sequence = low if facts.rows == 0 else min(facts.min_sequence, low)
            facts.max_sequence = high if facts.rows == 0 else max(facts.max_sequence, high)
            facts.deletes += int(frame.get_column(KIND).is_in(RETRACT_KINDS).sum())
            facts.first = frame.head(1) if facts.rows == 0 else facts.first
            facts.last = frame.tail(1)
        facts.rows += frame.height
        yield frame


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise BadData("a sequence number is missing")
    return value
