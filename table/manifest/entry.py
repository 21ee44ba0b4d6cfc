"""What a manifest says: data files that were added or removed.

Two forms of the same thing. *Records* (`DataFile`, `ManifestEntry`) are what planning and commits
think in, a few at a time. *Frames* (columns of `ENTRY_SCHEMA`) hold whole manifests, so that a
million entries are not a million objects. A frame without the columns of `STATS_COLUMNS` is
*slim*; live-file state is kept slim.

Spec: format §4.3.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import polars as pl

from ..stats import EMPTY_STATS, SimpleStats


class EntryKind(IntEnum):
    ADD = 0
    DELETE = 1


class FileSource(IntEnum):
    APPEND = 0
    COMPACT = 1


STATS_COLUMNS: dict[str, pl.DataType] = {
    "key_min": pl.Binary(),
    "key_max": pl.Binary(),
    "key_nulls": pl.List(pl.Int64()),
    "value_min": pl.Binary(),
    "value_max": pl.Binary(),
    "value_nulls": pl.List(pl.Int64()),
    "value_stats_cols": pl.List(pl.String()),
}

SLIM_SCHEMA: dict[str, pl.DataType] = {
    "kind": pl.Int32(),
    "partition": pl.Binary(),
    "bucket": pl.Int32(),
    "total_buckets": pl.Int32(),
    "name": pl.String(),
    "size_bytes": pl.Int64(),
    "row_count": pl.Int64(),
    "min_key": pl.Binary(),
    "max_key": pl.Binary(),
    "min_sequence": pl.Int64(),
    "max_sequence": pl.Int64(),
    "schema_id": pl.Int64(),
    "level": pl.Int32(),
    "extra_files": pl.List(pl.String()),
    "creation_millis": pl.Int64(),
    "delete_row_count": pl.Int64(),
    "embedded_index": pl.Binary(),
    "file_source": pl.Int32(),
    "external_path": pl.String(),
    "first_row_id": pl.Int64(),
    "write_cols": pl.List(pl.String()),
    "write_cols_sequences": pl.List(pl.Int64()),
}

ENTRY_SCHEMA: dict[str, pl.DataType] = {**SLIM_SCHEMA, **STATS_COLUMNS}


@dataclass(frozen=True, slots=True)
class DataFile:
    """One data file as metadata describes it.

    Keys are serialized rows of the trimmed primary key (empty rows in append tables); sizes in
    bytes; ``creation_millis`` is the writer's local wall clock stored as if it were UTC.
    """

    name: str
    size_bytes: int
    row_count: int
    min_key: bytes
    max_key: bytes
    min_sequence: int
    max_sequence: int
    schema_id: int
    level: int
    key_stats: SimpleStats = EMPTY_STATS
    value_stats: SimpleStats = EMPTY_STATS
    extra_files: tuple[str, ...] = ()
    creation_millis: int | None = None
    delete_row_count: int | None = None
    embedded_index: bytes | None = None
    file_source: int | None = None
    value_stats_cols: tuple[str, ...] | None = None
    external_path: str | None = None
    first_row_id: int | None = None
    write_cols: tuple[str, ...] | None = None
    write_cols_sequences: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One change of one file."""

    kind: EntryKind
    partition: bytes
    bucket: int
    total_buckets: int
    file: DataFile = field()


def _tuple(value: Iterable[Any] | None) -> tuple[Any, ...] | None:
    return None if value is None else tuple(value)


def _file_row(file: DataFile) -> dict[str, object]:
    return {
        "name": file.name,
        "size_bytes": file.size_bytes,
        "row_count": file.row_count,
        "min_key": file.min_key,
        "max_key": file.max_key,
        "min_sequence": file.min_sequence,
        "max_sequence": file.max_sequence,
        "schema_id": file.schema_id,
        "level": file.level,
        "extra_files": list(file.extra_files),
        "creation_millis": file.creation_millis,
        "delete_row_count": file.delete_row_count,
        "embedded_index": file.embedded_index,
        "file_source": file.file_source,
        "external_path": file.external_path,
        "first_row_id": file.first_row_id,
        "write_cols": file.write_cols and list(file.write_cols),
        "write_cols_sequences": file.write_cols_sequences and list(file.write_cols_sequences),
        "key_min": file.key_stats.min_values,
        "key_max": file.key_stats.max_values,
        "key_nulls": _list(file.key_stats.null_counts),
        "value_min": file.value_stats.min_values,
        "value_max": file.value_stats.max_values,
        "value_nulls": _list(file.value_stats.null_counts),
        "value_stats_cols": _list(file.value_stats_cols),
    }


def _list(value: Iterable[Any] | None) -> list[Any] | None:
    return None if value is None else list(value)


def entries_frame(entries: Iterable[ManifestEntry]) -> pl.DataFrame:
    """The entries as a frame of ENTRY_SCHEMA, in their order."""
    rows = [
        {
            "kind": int(e.kind),
            "partition": e.partition,
            "bucket": e.bucket,
            "total_buckets": e.total_buckets,
            **_file_row(e.file),
        }
        for e in entries
    ]
    return pl.DataFrame(rows, schema=ENTRY_SCHEMA)


def frame_entries(frame: pl.DataFrame) -> tuple[ManifestEntry, ...]:
    """A frame (slim or whole) as records, in its order; for the few files of one bucket."""
    return tuple(_entry(row) for row in frame.iter_rows(named=True))


def _entry(row: dict[str, Any]) -> ManifestEntry:
    return ManifestEntry(
        EntryKind(row["kind"]), row["partition"], row["bucket"], row["total_buckets"], _file(row)
    )


def _stats(row: dict[str, Any], name: str) -> SimpleStats:
    if row.get(f"{name}_min") is None:
        return EMPTY_STATS
    return SimpleStats(row[f"{name}_min"], row[f"{name}_max"], _tuple(row[f"{name}_nulls"]))


def _file(row: dict[str, Any]) -> DataFile:
    return DataFile(
        name=row["name"],
        size_bytes=row["size_bytes"],
        row_count=row["row_count"],
        min_key=row["min_key"],
        max_key=row["max_key"],
        min_sequence=row["min_sequence"],
        max_sequence=row["max_sequence"],
        schema_id=row["schema_id"],
        level=row["level"],
        key_stats=_stats(row, "key"),
        value_stats=_stats(row, "value"),
        extra_files=tuple(row["extra_files"] or ()),
        creation_millis=row["creation_millis"],
        delete_row_count=row["delete_row_count"],
        embedded_index=row["embedded_index"],
        file_source=row["file_source"],
        value_stats_cols=_tuple(row.get("value_stats_cols")),
        external_path=row["external_path"],
        first_row_id=row["first_row_id"],
        write_cols=_tuple(row["write_cols"]),
        write_cols_sequences=_tuple(row["write_cols_sequences"]),
    )
