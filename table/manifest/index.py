"""Avro bytes ⇄ index manifests: the complete list of a snapshot's live index files.

An index manifest is never a delta: a commit that changes an index file writes all entries again,
so what it does not understand must come out as it went in. What a global index says about itself
is therefore an opaque mapping.

Index files are few (one per bucket, not per data file), so they are records, not frames.

Spec: format §10.2; reference classes ``manifest/IndexManifestEntry``, ``index/IndexFileMeta``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import fastavro

from .. import paths
from ..errors import CorruptTable, UnsupportedFeature
from .entry import EntryKind

INDEX_VERSION = 1
DELETION_VECTORS = "DELETION_VECTORS"
HASH = "HASH"
ZSTD_LEVEL = 1
_NAMESPACE = "org.apache.paimon.avro.generated"

T = TypeVar("T")


def _nullable(name: str, avro: object) -> dict[str, object]:
    return {"name": name, "type": ["null", avro], "default": None}


def _record(name: str, fields: list[dict[str, object]]) -> dict[str, object]:
    return {"type": "record", "name": name, "namespace": _NAMESPACE, "fields": fields}


_GLOBAL_FIELDS: list[dict[str, object]] = [
    {"name": "_ROW_RANGE_START", "type": "long"},
    {"name": "_ROW_RANGE_END", "type": "long"},
    {"name": "_INDEX_FIELD_ID", "type": "int"},
    _nullable("_EXTRA_FIELD_IDS", {"type": "array", "items": "int"}),
    _nullable("_INDEX_META", "bytes"),
    _nullable("_SOURCE_META", "bytes"),
]
_GLOBAL_NAMES = frozenset(str(f["name"]) for f in _GLOBAL_FIELDS)

_RANGE_FIELDS: list[dict[str, object]] = [
    {"name": "f0", "type": "string"},
    {"name": "f1", "type": "int"},
    {"name": "f2", "type": "int"},
    _nullable("_CARDINALITY", "long"),
]

_AVRO = fastavro.parse_schema(
    _record(
        "record",
        [
            {"name": "_VERSION", "type": "int"},
            {"name": "_KIND", "type": "int"},
            {"name": "_PARTITION", "type": "bytes"},
            {"name": "_BUCKET", "type": "int"},
            {"name": "_INDEX_TYPE", "type": "string"},
            {"name": "_FILE_NAME", "type": "string"},
            {"name": "_FILE_SIZE", "type": "long"},
            {"name": "_ROW_COUNT", "type": "long"},
            _nullable(
                "_DELETIONS_VECTORS_RANGES",
                {
                    "type": "array",
                    "items": ["null", _record("record__DELETIONS_VECTORS_RANGES", _RANGE_FIELDS)],
                },
            ),
            _nullable("_EXTERNAL_PATH", "string"),
            _nullable("_GLOBAL_INDEX", _record("record__GLOBAL_INDEX", _GLOBAL_FIELDS)),
        ],
    )
)


@dataclass(frozen=True, slots=True)
class DeletionRange:
    """Where in an index file the deletion vector of one data file lies, in bytes.

    ``cardinality``: deleted rows; None where the writer did not say (before 1.0).
    """

    data_file: str
    offset: int
    length: int
    cardinality: int | None = None


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One live index file.

    ``row_count``: hashes of a hash index, deletion vectors of a deletion file, rows of a global
    index. ``deletions``: None where the file holds no deletion vectors, () where it once did.
    ``external_path``: where the file is, when that is not the table's index folder.
    ``global_index``: carried, not understood.
    """

    kind: EntryKind
    partition: bytes
    bucket: int
    index_type: str
    file_name: str
    file_size: int
    row_count: int
    deletions: tuple[DeletionRange, ...] | None = None
    external_path: str | None = None
    global_index: Mapping[str, object] | None = field(default=None, hash=False)


def read_index_manifest(data: bytes, path: str) -> tuple[IndexEntry, ...]:
    """Entries of an index manifest in their order.

    Raises:
        CorruptTable: not Avro, a field is missing, or a file name escapes; names the file.
        UnsupportedFeature: an entry version other than 1.
    """
    try:
        rows: list[dict[str, Any]] = list(fastavro.reader(io.BytesIO(data)))
    except Exception as error:  # fastavro raises a zoo on bad bytes
        raise CorruptTable("file is not readable Avro", reason=str(error), file=path) from error
    return tuple(_entry(row, path) for row in rows)


def _entry(row: dict[str, Any], path: str) -> IndexEntry:
    if row.get("_VERSION") != INDEX_VERSION:
        raise UnsupportedFeature(
            "unknown index manifest version", version=row.get("_VERSION"), file=path
        )
    try:
        ranges = row.get("_DELETIONS_VECTORS_RANGES")
        return IndexEntry(
            kind=EntryKind(_get(row, "_KIND", int)),
            partition=_get(row, "_PARTITION", bytes),
            bucket=_get(row, "_BUCKET", int),
            index_type=_get(row, "_INDEX_TYPE", str),
            file_name=paths.checked_name(_get(row, "_FILE_NAME", str)),
            file_size=_get(row, "_FILE_SIZE", int),
            row_count=_get(row, "_ROW_COUNT", int),
            deletions=None if ranges is None else tuple(_range(r) for r in ranges if r is not None),
            external_path=row.get("_EXTERNAL_PATH"),
            global_index=row.get("_GLOBAL_INDEX"),
        )
    except CorruptTable as error:
        raise error.at(manifest=path) from error
    except (ValueError, TypeError, AttributeError) as error:
        reason = str(error)
        raise CorruptTable("index manifest is not readable", reason=reason, file=path) from error


def _get(row: dict[str, Any], name: str, kind: type[T]) -> T:
    """The field's value; a manifest brings its own schema, so a type is a claim like any other."""
    value = row.get(name)
    if not isinstance(value, kind):
        raise ValueError(f"field {name} is {type(value).__name__}, not {kind.__name__}")  # noqa: TRY004
    return value


def _range(row: dict[str, Any]) -> DeletionRange:
    return DeletionRange(
        _get(row, "f0", str), _get(row, "f1", int), _get(row, "f2", int), row.get("_CARDINALITY")
    )


def write_index_manifest(entries: Sequence[IndexEntry]) -> bytes:
    """Avro bytes of an index manifest with these entries, in their order.

    Raises:
        UnsupportedFeature: a global index says something this release cannot carry.
    """
    out = io.BytesIO()
    rows = [_wire(entry) for entry in entries]
    fastavro.writer(out, _AVRO, rows, codec="zstandard", codec_compression_level=ZSTD_LEVEL)
    return out.getvalue()


def _wire(entry: IndexEntry) -> dict[str, Any]:
    unknown = set(entry.global_index or ()) - _GLOBAL_NAMES
    if unknown:
        raise UnsupportedFeature(
            "unknown field of a global index", field=min(unknown), file=entry.file_name
        )
    ranges = entry.deletions
    return {
        "_VERSION": INDEX_VERSION,
        "_KIND": int(entry.kind),
        "_PARTITION": entry.partition,
        "_BUCKET": entry.bucket,
        "_INDEX_TYPE": entry.index_type,
        "_FILE_NAME": entry.file_name,
        "_FILE_SIZE": entry.file_size,
        "_ROW_COUNT": entry.row_count,
        "_DELETIONS_VECTORS_RANGES": None if ranges is None else [_wire_range(r) for r in ranges],
        "_EXTERNAL_PATH": entry.external_path,
        "_GLOBAL_INDEX": entry.global_index,
    }


def _wire_range(found: DeletionRange) -> dict[str, Any]:
    return {
        "f0": found.data_file,
        "f1": found.offset,
        "f2": found.length,
        "_CARDINALITY": found.cardinality,
    }
