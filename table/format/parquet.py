"""Parquet data files: read in chunks of bounded decoded size, written as one streamed file.

Polars decodes and encodes (its encoder is several times faster than pyarrow's), except files with
TIME or TIMESTAMP(7–9) columns, which it would write in a form that older Paimon readers refuse, and
with ROWs that may be null and have NOT NULL fields: those go through pyarrow (INT32 millis, INT96).

Spec: format §8.1, §9.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, TypeVar, cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from polars.io.plugins import register_io_source

from ..datatypes import TIMESTAMPS, DataType, Root, arrow_field, to_polars, walk
from ..errors import BadData, CorruptTable, FileMissing, StorageUnavailable, first_line
from ..nested import leaves
from ..options import TableOptions
from ..schema import Field
from ..storage import Ranges, Storage
from .arrays import encodable, hides_nulls
from .parquet_ranges import fetch_footer, next_rows, ranges_of

T = TypeVar("T")
Codec = Literal["zstd", "snappy", "lz4", "gzip", "uncompressed"]

ROW_GROUP_BYTES = 32 * 1024 * 1024
"""Decoded size of our row groups: small enough that a merge of many runs holds one of each."""

ROW_GROUP_ROWS_MIN = 1024
"""However wide rows are."""

_SATURATED = 2**63 - 1  # what Polars makes of an INT96 that 64 bits of nanoseconds cannot hold
_FILE_FAILED = "underlying IO error: "  # how Polars words that the file it writes to failed
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}
_VIEW_BYTES = 16  # a string in memory: its view; the text is counted by the footer
_OFFSET_BYTES = 8  # a list in memory: where it begins


@dataclass(frozen=True, slots=True)
class Chunk:
    """``rows`` rows from ``offset`` on, about ``decoded_bytes`` in memory."""

    offset: int
    rows: int
    decoded_bytes: int


class ParquetSource:
    """One data file opened for reading; the footer is read once, on opening.

    Raises:
        FileMissing: no such file.
        CorruptTable: the file is not readable Parquet.
    """

    def __init__(self, storage: Storage, path: str) -> None:
        self._path = path
        self._source = storage.open_source(path)
        if isinstance(self._source, Ranges):
            fetch_footer(self._source, path)
        self.metadata = self._guarded(lambda: pq.read_metadata(self._rewound()))
        names = self._guarded(lambda: self.metadata.schema.to_arrow_schema().names)
        self.columns: frozenset[str] = frozenset(names)

    @property
    def rows(self) -> int:
        return int(self.metadata.num_rows)

    def _least_bytes(self, group: Any) -> int:
        """Of a row group in memory: fixed widths, views of text and bytes, offsets of lists."""
        total = 0
        for index in range(group.num_columns):
            place = self.metadata.schema.column(index)
            # More values than rows inside lists; rows there may have none.
            values = max(group.num_rows, group.column(index).num_values)
            total += values * _WIDTHS.get(place.physical_type, _VIEW_BYTES)
            total += values * _OFFSET_BYTES * place.max_repetition_level
        return total

    def chunks(self, limit_bytes: int, groups: Sequence[bool] | None = None) -> tuple[Chunk, ...]:
        """The file as ascending chunks: row groups, cut further where they decode too large.

        Args:
            groups: for each row group whether it is wanted; None: all are.
        """
        chunks: list[Chunk] = []
        offset = 0
        for index in range(self.metadata.num_row_groups):
            group = self.metadata.row_group(index)
            if groups is not None and not groups[index]:
                offset += group.num_rows
                continue
            # A dictionary encodes in less than a byte what takes eight in memory.
            encoded = int(group.total_byte_size) + group.num_rows * _VIEW_BYTES
            decoded = max(encoded, self._least_bytes(group))
            parts = max(1, min(group.num_rows, -(-decoded // max(1, limit_bytes))))
            step = -(-group.num_rows // parts) if group.num_rows else 0
            for start in range(0, group.num_rows, max(1, step)):
                rows = min(step, group.num_rows - start)
                chunks.append(Chunk(offset + start, rows, decoded * rows // group.num_rows))
            offset += group.num_rows
        return tuple(chunks)

    def read(self, chunk: Chunk | None, columns: Sequence[str]) -> pl.DataFrame:
        """These columns of a chunk (None: of the whole file), in the file's own types.

        Raises:
            BadData: a timestamp of precision 7–9 that lies outside the years 1678 to 2262.
        """

        self._fetch(chunk, columns)

        def load() -> pl.DataFrame:
            lazy = pl.scan_parquet(self._rewound(), glob=False, hive_partitioning=False)
            if chunk is not None:
                lazy = lazy.slice(chunk.offset, chunk.rows)
            return lazy.select(columns).collect()

        frame = self._guarded(load)
        for series in frame:
            if any(_saturated(leaf) for leaf in leaves(series, pl.Datetime)):
                raise BadData(
                    "timestamp does not fit 64 bits of nanoseconds",
                    column=series.name,
                    file=self._path,
                )
        return frame

    def _fetch(self, chunk: Chunk | None, columns: Sequence[str] | None) -> None:
        """Have the bytes there that are about to be read, if they are elsewhere."""
        if not isinstance(self._source, Ranges):
            return
        wanted = None if columns is None else set(columns)
        rows = None if chunk is None else (chunk.offset, chunk.offset + chunk.rows)
        following = None if rows is None else next_rows(self.metadata, rows)
        ahead = [] if following is None else ranges_of(self.metadata, following, wanted)
        self._source.fetch(ranges_of(self.metadata, rows, wanted), ahead)

    def _rewound(self) -> Any:
        if isinstance(self._source, Ranges):
            return self._source.path
        if not isinstance(self._source, str):
            self._source.seek(0)
        return self._source

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException) as e:
            raise CorruptTable(
                "data file is not readable", reason=first_line(e), file=self._path
            ) from e
        except UnicodeDecodeError as e:  # column names of a damaged footer
            raise CorruptTable("data file is not readable", reason=e.reason, file=self._path) from e
        except FileNotFoundError as e:  # deleted since it was opened
            raise FileMissing("file does not exist", action="read", file=self._path) from e
        except OSError as e:
            # pyarrow says OSError, without a number, for bytes that make no sense, too.
            kind = CorruptTable if type(e) is OSError and e.errno is None else StorageUnavailable
            raise kind("data file is not readable", reason=str(e), file=self._path) from e


def _saturated(series: pl.Series) -> bool:
    nanos = isinstance(series.dtype, pl.Datetime) and series.dtype.time_unit == "ns"
    return nanos and bool((series.to_physical() == _SATURATED).any())


def arrow_schema(fields: Sequence[Field]) -> pa.Schema:
    """The Arrow schema that is encoded: nullability and Paimon's field ids included."""
    return pa.schema([arrow_field(f) for f in fields])


def needs_pyarrow(fields: Sequence[Field]) -> bool:
    """True when Polars would encode a column in a way older Paimon cannot read, or not at all."""
    late = any(t.root is Root.TIME or _is_nanos(t) for f in fields for t in walk(f.type))
    return late or any(hides_nulls(f.type) for f in fields)


def _is_nanos(data_type: DataType) -> bool:
    return data_type.root in TIMESTAMPS and data_type.precision > 6


@dataclass(frozen=True, slots=True)
class ParquetEncoding:
    """How to encode: the columns in order, codec and level (None where the codec has none)."""

    fields: tuple[Field, ...]
    compression: Codec
    level: int | None

    @staticmethod
    def of(
        fields: Sequence[Field], options: TableOptions, codec: str | None = None
    ) -> ParquetEncoding:
        """The table's own compression, or ``codec``."""
        codec = options.compression if codec is None else codec
        if codec in ("none", "uncompressed"):
            codec = "uncompressed"
        level = options.zstd_level if codec == "zstd" else None
        return ParquetEncoding(tuple(fields), cast(Codec, codec), level)


def encode(
    frames: Iterator[pl.DataFrame], file: BinaryIO, encoding: ParquetEncoding, row_bytes: int
) -> None:
    """Stream frames (columns as in ``encoding.fields``) into one Parquet file.

    Args:
        row_bytes: decoded bytes of a row, to size row groups by.

    Raises:
        StorageUnavailable: the file cannot be written, a full disk for one.
        BadData: pyarrow cannot encode the rows; where Polars cannot, it says so itself.
    """
    group_rows = max(ROW_GROUP_ROWS_MIN, ROW_GROUP_BYTES // max(1, row_bytes))
    try:
        if needs_pyarrow(encoding.fields):
            _encode_pyarrow(frames, file, encoding, group_rows)
        else:
            _encode_polars(frames, file, encoding, group_rows)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageUnavailable("cannot write", reason=reason) from error
    except pl.exceptions.PolarsError as error:
        _, failed, reason = str(error).partition(_FILE_FAILED)
        if not failed:
            raise
        raise StorageUnavailable("cannot write", reason=first_line(reason)) from error
    except pa.ArrowException as error:
        raise BadData("rows cannot be encoded", reason=first_line(error)) from error


def _encode_polars(
    frames: Iterator[pl.DataFrame], file: BinaryIO, encoding: ParquetEncoding, group_rows: int
) -> None:
    def batches(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        yield from frames

    schema = pl.Schema({f.name: to_polars(f.type) for f in encoding.fields})
    register_io_source(batches, schema=schema).sink_parquet(
        file,
        compression=encoding.compression,
        compression_level=encoding.level,
        statistics="full",
        row_group_size=group_rows,
        arrow_schema=arrow_schema(encoding.fields),
    )


def _encode_pyarrow(
    frames: Iterator[pl.DataFrame], file: BinaryIO, encoding: ParquetEncoding, group_rows: int
) -> None:
    schema = arrow_schema(encoding.fields)
    nanos = any(_is_nanos(t) for f in encoding.fields for t in walk(f.type))
    writer = pq.ParquetWriter(
        file,
        schema,
        compression="none" if encoding.compression == "uncompressed" else encoding.compression,
        compression_level=encoding.level,
        store_decimal_as_integer=True,
        use_deprecated_int96_timestamps=nanos,
    )
    pending: list[pl.DataFrame] = []
    with writer:
        for frame in frames:
            pending.append(frame)
            if sum(p.height for p in pending) >= group_rows:
                writer.write_table(_table(pending, encoding.fields, schema), group_rows)
                pending = []
        if pending:
            writer.write_table(_table(pending, encoding.fields, schema), group_rows)


def _table(frames: Sequence[pl.DataFrame], fields: Sequence[Field], schema: pa.Schema) -> pa.Table:
    table = pl.concat(frames, how="vertical").to_arrow(compat_level=pl.CompatLevel.oldest())
    arrays = [encodable(table.column(f.name), f) for f in fields]
    return pa.Table.from_arrays(arrays, schema=schema)
