"""Avro bytes ⇄ manifests and manifest lists.

Reading is vectorised: the container's blocks are inflated, put behind a header without
compression, and decoded by Polars' Avro reader; fastavro decodes what that reader cannot, into the
same frame. Writing goes through fastavro with the schema that Java writes.

Spec: format §4.1–4.3.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import fastavro
import polars as pl

from ..errors import CorruptTable, UnsupportedFeature
from ..stats import SimpleStats
from .entry import ENTRY_SCHEMA, SLIM_SCHEMA, EntryKind

ENTRY_VERSION = 2
ZSTD_LEVEL = 1
_NAMESPACE = "org.apache.paimon.avro.generated"


def _nullable(avro: object) -> dict[str, object]:
    return {"type": ["null", avro], "default": None}


def _stats_schema(name: str) -> dict[str, object]:
    return {
        "type": "record",
        "name": name,
        "namespace": _NAMESPACE,
        "fields": [
            {"name": "_MIN_VALUES", "type": "bytes"},
            {"name": "_MAX_VALUES", "type": "bytes"},
            {"name": "_NULL_COUNTS", **_nullable({"type": "array", "items": ["null", "long"]})},
        ],
    }


_STRINGS = {"type": "array", "items": "string"}
_MILLIS = {"type": "long", "logicalType": "timestamp-millis"}

# (name on the wire, Avro type, our column); order is the wire's.
_FILE_FIELDS: tuple[tuple[str, dict[str, object], str], ...] = (
    ("_FILE_NAME", {"type": "string"}, "name"),
    ("_FILE_SIZE", {"type": "long"}, "size_bytes"),
    ("_ROW_COUNT", {"type": "long"}, "row_count"),
    ("_MIN_KEY", {"type": "bytes"}, "min_key"),
    ("_MAX_KEY", {"type": "bytes"}, "max_key"),
    ("_KEY_STATS", {"type": _stats_schema("record__FILE__KEY_STATS")}, "key"),
    ("_VALUE_STATS", {"type": _stats_schema("record__FILE__VALUE_STATS")}, "value"),
    ("_MIN_SEQUENCE_NUMBER", {"type": "long"}, "min_sequence"),
    ("_MAX_SEQUENCE_NUMBER", {"type": "long"}, "max_sequence"),
    ("_SCHEMA_ID", {"type": "long"}, "schema_id"),
    ("_LEVEL", {"type": "int"}, "level"),
    ("_EXTRA_FILES", {"type": _STRINGS}, "extra_files"),
    ("_CREATION_TIME", _nullable(_MILLIS), "creation_millis"),
    ("_DELETE_ROW_COUNT", _nullable("long"), "delete_row_count"),
    ("_EMBEDDED_FILE_INDEX", _nullable("bytes"), "embedded_index"),
    ("_FILE_SOURCE", _nullable("int"), "file_source"),
    ("_VALUE_STATS_COLS", _nullable(_STRINGS), "value_stats_cols"),
    ("_EXTERNAL_PATH", _nullable("string"), "external_path"),
    ("_FIRST_ROW_ID", _nullable("long"), "first_row_id"),
    ("_WRITE_COLS", _nullable(_STRINGS), "write_cols"),
    (
        "_WRITE_COLS_SEQUENCES",
        _nullable({"type": "array", "items": "long"}),
        "write_cols_sequences",
    ),
)
_STATS_FIELDS = (("_MIN_VALUES", "min"), ("_MAX_VALUES", "max"), ("_NULL_COUNTS", "nulls"))
_ENTRY_FIELDS = (
    ("_KIND", "kind"),
    ("_PARTITION", "partition"),
    ("_BUCKET", "bucket"),
    ("_TOTAL_BUCKETS", "total_buckets"),
)

_REQUIRED = (
    "kind", "partition", "bucket", "total_buckets", "name", "size_bytes", "row_count", "min_key",
    "max_key", "min_sequence", "max_sequence", "schema_id", "level",
)  # fmt: skip
"""Columns without which an entry says nothing."""

_ENTRY_AVRO = fastavro.parse_schema(
    {
        "type": "record",
        "name": "record",
        "namespace": _NAMESPACE,
        "fields": [
            {"name": "_VERSION", "type": "int"},
            {"name": "_KIND", "type": "int"},
            {"name": "_PARTITION", "type": "bytes"},
            {"name": "_BUCKET", "type": "int"},
            {"name": "_TOTAL_BUCKETS", "type": "int"},
            {
                "name": "_FILE",
                "type": {
                    "type": "record",
                    "name": "record__FILE",
                    "namespace": _NAMESPACE,
                    "fields": [{"name": name, **avro} for name, avro, _ in _FILE_FIELDS],
                },
            },
        ],
    }
)

_LIST_AVRO = fastavro.parse_schema(
    {
        "type": "record",
        "name": "record",
        "namespace": _NAMESPACE,
        "fields": [
            {"name": "_VERSION", "type": "int"},
            {"name": "_FILE_NAME", "type": "string"},
            {"name": "_FILE_SIZE", "type": "long"},
            {"name": "_NUM_ADDED_FILES", "type": "long"},
            {"name": "_NUM_DELETED_FILES", "type": "long"},
            {"name": "_PARTITION_STATS", "type": _stats_schema("record__PARTITION_STATS")},
            {"name": "_SCHEMA_ID", "type": "long"},
            {"name": "_MIN_BUCKET", **_nullable("int")},
            {"name": "_MAX_BUCKET", **_nullable("int")},
            {"name": "_MIN_LEVEL", **_nullable("int")},
            {"name": "_MAX_LEVEL", **_nullable("int")},
            {"name": "_MIN_ROW_ID", **_nullable("long")},
            {"name": "_MAX_ROW_ID", **_nullable("long")},
        ],
    }
)


@dataclass(frozen=True, slots=True)
class ManifestMeta:
    """One line of a manifest list; ``size_bytes`` is the manifest's exact length."""

    name: str
    size_bytes: int
    added_files: int
    deleted_files: int
    partition_stats: SimpleStats
    schema_id: int
    min_bucket: int | None = None
    max_bucket: int | None = None
    min_level: int | None = None
    max_level: int | None = None
    min_row_id: int | None = None
    max_row_id: int | None = None


# --- writing ------------------------------------------------------------------------------------


def _write(schema: Any, rows: Sequence[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, schema, rows, codec="zstandard", codec_compression_level=ZSTD_LEVEL)
    return out.getvalue()


def write_manifest(entries: pl.DataFrame) -> bytes:
    """Avro bytes of a manifest holding these entries (columns of ENTRY_SCHEMA), in their order."""
    return _write(_ENTRY_AVRO, [_wire_entry(row) for row in entries.iter_rows(named=True)])


def _wire_entry(row: dict[str, Any]) -> dict[str, Any]:
    file = {name: row.get(column) for name, _, column in _FILE_FIELDS}
    for name, column in (("_KEY_STATS", "key"), ("_VALUE_STATS", "value")):
        file[name] = {wire: row[f"{column}_{ours}"] for wire, ours in _STATS_FIELDS}
    return {"_VERSION": ENTRY_VERSION, **{w: row[o] for w, o in _ENTRY_FIELDS}, "_FILE": file}


def write_manifest_list(metas: Sequence[ManifestMeta]) -> bytes:
    """Avro bytes of a manifest list; an empty one is a valid file without records."""
    return _write(_LIST_AVRO, [_wire_meta(meta) for meta in metas])


def _wire_meta(meta: ManifestMeta) -> dict[str, Any]:
    stats, nulls = meta.partition_stats, meta.partition_stats.null_counts
    return {
        "_VERSION": ENTRY_VERSION,
        "_FILE_NAME": meta.name,
        "_FILE_SIZE": meta.size_bytes,
        "_NUM_ADDED_FILES": meta.added_files,
        "_NUM_DELETED_FILES": meta.deleted_files,
        "_PARTITION_STATS": {
            "_MIN_VALUES": stats.min_values,
            "_MAX_VALUES": stats.max_values,
            "_NULL_COUNTS": None if nulls is None else list(nulls),
        },
        "_SCHEMA_ID": meta.schema_id,
        "_MIN_BUCKET": meta.min_bucket,
        "_MAX_BUCKET": meta.max_bucket,
        "_MIN_LEVEL": meta.min_level,
        "_MAX_LEVEL": meta.max_level,
        "_MIN_ROW_ID": meta.min_row_id,
        "_MAX_ROW_ID": meta.max_row_id,
    }


# --- reading ------------------------------------------------------------------------------------


def read_manifest(data: bytes, path: str, *, stats: bool) -> pl.DataFrame:
    """Entries of a manifest in their order: columns of ENTRY_SCHEMA, or of SLIM_SCHEMA.

    Raises:
        CorruptTable: truncated or not Avro; names the file.
        UnsupportedFeature: an entry version other than 2.
    """
    return _normalised(_decode(data, path), path, stats=stats)


def read_manifest_slowly(data: bytes, path: str, *, stats: bool) -> pl.DataFrame:
    """The same through fastavro, record by record: the reference for tests, and the fallback."""
    return _normalised(_decode_slowly(data, path), path, stats=stats)


def read_manifest_list(data: bytes, path: str) -> tuple[ManifestMeta, ...]:
    """Lines of a manifest list in their order."""
    return tuple(_meta(row, path) for row in _records(data, path))


def _meta(row: dict[str, Any], path: str) -> ManifestMeta:
    _check_version(row.get("_VERSION"), path)
    try:
        stats, nulls = row["_PARTITION_STATS"], row["_PARTITION_STATS"]["_NULL_COUNTS"]
        return ManifestMeta(
            name=row["_FILE_NAME"],
            size_bytes=row["_FILE_SIZE"],
            added_files=row["_NUM_ADDED_FILES"],
            deleted_files=row["_NUM_DELETED_FILES"],
            partition_stats=SimpleStats(
                stats["_MIN_VALUES"],
                stats["_MAX_VALUES"],
                None if nulls is None else tuple(nulls),
            ),
            schema_id=row["_SCHEMA_ID"],
            min_bucket=row.get("_MIN_BUCKET"),
            max_bucket=row.get("_MAX_BUCKET"),
            min_level=row.get("_MIN_LEVEL"),
            max_level=row.get("_MAX_LEVEL"),
            min_row_id=row.get("_MIN_ROW_ID"),
            max_row_id=row.get("_MAX_ROW_ID"),
        )
    except KeyError as error:
        raise CorruptTable("manifest list lacks a field", field=error.args[0], file=path) from error


def _check_version(version: object, path: str) -> None:
    if version != ENTRY_VERSION:
        raise UnsupportedFeature("unknown manifest version", version=version, file=path)


def _check_versions(versions: pl.Series, path: str) -> None:
    # Comparing numbers is much cheaper than what Polars makes an expression of, as `unique`.
    whole = versions.dtype.is_integer() and not versions.null_count()
    if not whole or (versions != ENTRY_VERSION).any():
        for version in versions.to_list():
            _check_version(version, path)


def _records(data: bytes, path: str) -> list[dict[str, Any]]:
    try:
        return list(fastavro.reader(io.BytesIO(data)))
    except Exception as error:  # fastavro raises a zoo on bad bytes
        raise CorruptTable("file is not readable Avro", reason=str(error), file=path) from error


def _decode(data: bytes, path: str) -> pl.DataFrame:
    plain = _inflated(data, path)
    if plain is None:
        return pl.DataFrame()
    try:
        return pl.read_avro(io.BytesIO(plain))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError):
        return _decode_slowly(data, path)  # its error, if any, names what is wrong


def _inflated(data: bytes, path: str) -> bytes | None:
    """The same container as one uncompressed block; None when it holds no record."""
    try:
        reader = fastavro.block_reader(io.BytesIO(data))
        blocks = [(block.num_records, block.bytes_.read()) for block in reader]
    except Exception as error:  # fastavro raises a zoo on bad bytes
        raise CorruptTable("file is not readable Avro", reason=str(error), file=path) from error
    count = sum(n for n, _ in blocks)
    if count == 0:
        return None
    body = b"".join(b for _, b in blocks)
    schema = reader.metadata["avro.schema"]
    text = schema.encode() if isinstance(schema, str) else schema
    sync = b"desilt-one-block"
    header = b"".join(
        (b"Obj\x01", _long(2), _text(b"avro.schema"), _text(text), _text(b"avro.codec"),
         _text(b"null"), _long(0), sync)
    )  # fmt: skip
    return b"".join((header, _long(count), _long(len(body)), body, sync))


def _long(value: int) -> bytes:
    """A non-negative Avro long: zig-zag, then seven bits a byte."""
    rest = value << 1
    out = bytearray()
    while rest > 0x7F:
        out.append((rest & 0x7F) | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _text(value: bytes) -> bytes:
    return _long(len(value)) + value


def _decode_slowly(data: bytes, path: str) -> pl.DataFrame:
    rows = _records(data, path)
    for row in rows:
        _check_version(row.get("_VERSION", ENTRY_VERSION), path)  # before it is made a number
        file: dict[str, Any] = row.get("_FILE") or {}
        created = file.get("_CREATION_TIME")
        if isinstance(created, datetime):
            file["_CREATION_TIME"] = round(created.timestamp() * 1000)
    if not rows:
        return pl.DataFrame()
    try:
        return pl.DataFrame(rows, schema=_wire_frame_schema(), strict=False)
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise CorruptTable("manifest is not readable", reason=str(error), file=path) from error


def _wire_frame_schema() -> dict[str, pl.DataType]:
    file: dict[str, pl.DataType] = {}
    for name, _, column in _FILE_FIELDS:
        if column in ("key", "value"):
            file[name] = pl.Struct({w: ENTRY_SCHEMA[f"{column}_{o}"] for w, o in _STATS_FIELDS})
        else:
            file[name] = ENTRY_SCHEMA[column]
    entry = {wire: SLIM_SCHEMA[ours] for wire, ours in _ENTRY_FIELDS}
    return {"_VERSION": pl.Int32(), **entry, "_FILE": pl.Struct(file)}


def _normalised(wire: pl.DataFrame, path: str, *, stats: bool) -> pl.DataFrame:
    schema = ENTRY_SCHEMA if stats else SLIM_SCHEMA
    if wire.width == 0:
        return pl.DataFrame(schema=schema)
    missing = {"_VERSION", "_FILE", *(w for w, _ in _ENTRY_FIELDS)} - set(wire.columns)
    if missing:
        raise CorruptTable("manifest lacks a field", field=min(missing), file=path)
    _check_versions(wire.get_column("_VERSION"), path)
    try:
        columns = _columns(wire, stats=stats)
        whole = pl.DataFrame([_typed(columns[name], dtype) for name, dtype in schema.items()])
    except pl.exceptions.PolarsError as error:
        raise CorruptTable("manifest is not readable", reason=str(error), file=path) from error
    for name in _REQUIRED:
        if whole[name].null_count():
            raise CorruptTable("manifest entry lacks a field", field=name, file=path)
    kinds = whole.get_column("kind")
    if ((kinds != EntryKind.ADD) & (kinds != EntryKind.DELETE)).any():
        raise CorruptTable("unknown kind of manifest entry", file=path)
    return whole


def _columns(wire: pl.DataFrame, *, stats: bool) -> dict[str, pl.Series]:
    """Our columns, in the wire's types; fields that older writers leave out are null.

    Series by series: an expression costs more than most manifests hold.
    """
    columns = {ours: wire.get_column(w).alias(ours) for w, ours in _ENTRY_FIELDS}
    file = wire.get_column("_FILE").struct.unnest()
    for name, _, column in _FILE_FIELDS:
        if column not in ("key", "value"):
            found = file.get_column(name, default=None)
            columns[column] = _nulls(column, wire.height) if found is None else found.alias(column)
        elif stats:
            parts = file.get_column(name).struct.unnest()
            for w, o in _STATS_FIELDS:
                columns[f"{column}_{o}"] = parts.get_column(w).alias(f"{column}_{o}")
    return columns


def _nulls(column: str, height: int) -> pl.Series:
    return pl.Series(column, [None], ENTRY_SCHEMA[column]).new_from_index(0, height)


def _typed(series: pl.Series, dtype: pl.DataType) -> pl.Series:
    return series if series.dtype == dtype else series.cast(dtype)
