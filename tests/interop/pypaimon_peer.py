"""The peer over pypaimon: the protocol of the Java peer, run by the peer environment's Python.

One JSON request a line on stdin, one JSON response a line on stdout; logs go to stderr. A failed
operation leaves the server usable. What pypaimon cannot do answers with an error whose class is
`Unsupported`.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import pyarrow as pa
from canonical import EpochTime, ScalarType, decode, float_text, parse_type
from pypaimon import CatalogFactory, Schema
from pypaimon.schema.data_types import AtomicType, DataField, DataTypeParser, PyarrowFieldParser
from pypaimon.schema.schema_change import Move, SchemaChange
from pypaimon.table.file_store_table import FileStoreTable
from pypaimon.table.row.generic_row import GenericRow, GenericRowSerializer
from pypaimon.table.row.row_kind import RowKind
from pypaimon.write.row_key_extractor import _bucket_from_hash, _hash_bytes_by_words

Args = dict[str, Any]

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_BATCH_IDENTIFIER = 2**63 - 1
_FILE_SOURCES = {0: "APPEND", 1: "COMPACT"}
_DATABASE_SUFFIX = ".db"


class Unsupported(Exception):
    """What pypaimon has no means for."""


# -------------------------------------------------------------------- schema


def version(_args: Args) -> Any:
    """The library's name and version."""
    return {"name": "pypaimon", "version": metadata.version("pypaimon")}


def create_table(args: Args) -> Any:
    """Creates a table in a file system warehouse, and its database when missing."""
    fields = [
        DataField(position, column["name"], _parse(column["type"]))
        for position, column in enumerate(args["columns"])
    ]
    schema = Schema(
        fields=fields,
        partition_keys=args.get("partition_keys") or [],
        primary_keys=args.get("primary_keys") or [],
        options=args.get("options") or {},
    )
    catalog = CatalogFactory.create({"warehouse": args["warehouse"]})
    catalog.create_database(args["database"], True)
    name = f"{args['database']}.{args['table']}"
    catalog.create_table(name, schema, False)
    return {"path": _local(catalog.get_table(name).table_path)}


def alter(args: Args) -> Any:
    """Applies schema changes through the catalog that the table's path belongs to."""
    path = Path(args["path"])
    if not path.parent.name.endswith(_DATABASE_SUFFIX):
        raise ValueError(f"{path} is not in a warehouse's database")
    catalog = CatalogFactory.create({"warehouse": str(path.parents[1])})
    name = f"{path.parent.name.removesuffix(_DATABASE_SUFFIX)}.{path.name}"
    catalog.alter_table(name, [_change(change) for change in args["changes"]])
    return {"schemaId": _open(args).table_schema.id}


def _change(args: Args) -> Any:
    op = args["op"]
    if op == "add":
        return SchemaChange.add_column(args["name"], _parse(args["type"]))
    if op == "rename":
        return SchemaChange.rename_column(args["from"], args["to"])
    if op == "drop":
        return SchemaChange.drop_column(args["name"])
    if op == "type":
        return SchemaChange.update_column_type(args["name"], _parse(args["type"]))
    if op == "nullable":
        return SchemaChange.update_column_nullability(args["name"], args["nullable"])
    if op == "first":
        return SchemaChange.update_column_position(Move.first(args["name"]))
    if op == "option":
        return SchemaChange.set_option(args["key"], args["value"])
    raise Unsupported(f"schema change {op}")


def _parse(type_text: str) -> Any:
    return DataTypeParser.parse_atomic_type_sql_string(type_text)


# ---------------------------------------------------------------------- rows


def write(args: Args) -> Any:
    """Writes all rows in one commit; without a user as a batch job, else as a stream's commit."""
    table = _open(args, args.get("options"))
    before = _latest(table)
    data = _arrow(table, args["rows"])
    user = args.get("user")
    if user is None:
        if "identifier" in args:
            raise ValueError("an identifier needs a user")
        _commit_batch(table, data, args.get("bucket"))
    else:
        identifier = args.get("identifier", _BATCH_IDENTIFIER)
        _commit_as(table, data, args.get("bucket"), user, identifier)
    return {"snapshots": list(range(before + 1, _latest(table) + 1))}


def _commit_batch(table: Any, data: pa.Table, bucket: int | None) -> None:
    builder = table.new_batch_write_builder()
    writer, commit = builder.new_write(), builder.new_commit()
    try:
        writer.write_arrow(data, bucket)
        commit.commit(writer.prepare_commit())
    finally:
        writer.close()
        commit.close()


def _commit_as(table: Any, data: pa.Table, bucket: int | None, user: str, identifier: int) -> None:
    builder = table.new_stream_write_builder()._with_commit_user(user)
    writer, commit = builder.new_write(), builder.new_commit()
    try:
        writer.write_arrow(data, bucket)
        commit.commit(writer.prepare_commit(identifier), identifier)
    finally:
        writer.close()
        commit.close()


def _arrow(table: Any, rows: list[list[Any]]) -> pa.Table:
    """The rows as an Arrow table of the table's own schema, after a check of their kinds."""
    schema = PyarrowFieldParser.from_paimon_schema(table.table_schema.fields)
    _check_kinds(table, schema.names, rows)
    columns = list(zip(*rows, strict=True))[1:] if rows else [() for _ in schema]
    if len(columns) != len(schema):
        raise ValueError(f"a row has {len(columns)} values, not {len(schema)}")
    kinds = [_scalar(field.type) for field in table.table_schema.fields]
    arrays = [
        _array(kind, field.type, values)
        for kind, field, values in zip(kinds, schema, columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _check_kinds(table: Any, names: list[str], rows: list[list[Any]]) -> None:
    """pypaimon takes a row's kind from the table's `rowkind.field` column, and from there alone."""
    carrier = table.options.options.to_map().get("rowkind.field")
    for row in rows:
        kind = row[0] if carrier is None else row[1 + names.index(carrier)]
        if row[0] != kind:
            raise ValueError(f"kind {row[0]} of a row whose column {carrier} says {kind}")
        if carrier is None and kind != "+I":
            raise Unsupported(f"rows of kind {kind} in a table without the option rowkind.field")


def _array(kind: ScalarType, arrow: pa.DataType, values: tuple[Any, ...]) -> pa.Array:
    if pa.types.is_timestamp(arrow):
        ticks = [None if value is None else _ticks(value, arrow.unit) for value in values]
        return pa.array(ticks, pa.int64()).cast(arrow)
    if kind.root == "TIME":
        return pa.array(values, pa.int32()).cast(arrow)
    plain = [decode(kind, value) for value in values]
    if kind.root == "DATE":
        days = [_epoch_day(value) for value in plain]
        return pa.array(days, pa.int32()).cast(arrow)
    return pa.array(plain, arrow)


def _ticks(value: dict[str, int], unit: str) -> int:
    nanos = value["ms"] * 10**6 + value["ns"]
    ticks, rest = divmod(nanos, 10**9 // _PER_SECOND[unit])
    if rest:
        raise ValueError(f"{value} is finer than the column's unit {unit}")
    return ticks


def _epoch_day(value: datetime.date | int | None) -> int | None:
    if isinstance(value, datetime.date):
        return value.toordinal() - datetime.date(1970, 1, 1).toordinal()
    return value


def read(args: Args) -> Any:
    """Reads the merged rows of the latest or the given snapshot."""
    options = dict(args.get("options") or {})
    if "snapshot" in args:
        options["scan.snapshot-id"] = str(args["snapshot"])
    table = _open(args, options)
    builder = table.new_read_builder()
    if "columns" in args:
        builder = builder.with_projection(args["columns"])
    data = builder.new_read().to_arrow(builder.new_scan().plan().splits())
    fields = {field.name: field for field in table.table_schema.fields}
    names = args.get("columns") or list(fields)
    columns = [_wire(_scalar(fields[name].type), data.column(name)) for name in names]
    return {"columns": names, "rows": [list(row) for row in zip(*columns, strict=True)]}


def _wire(kind: ScalarType, column: pa.ChunkedArray) -> list[Any]:
    """A whole column in the canonical encoding; by column, because rows come by the 100,000."""
    if kind.root in ("TIMESTAMP", "TIMESTAMP_LTZ"):
        per_millisecond = _PER_SECOND[column.type.unit] / 1000
        ticks = column.cast(pa.int64()).to_pylist()
        return [None if tick is None else _epoch_time(tick, per_millisecond) for tick in ticks]
    if kind.root == "TIME":
        return column.cast(pa.time32("ms")).cast(pa.int32()).to_pylist()
    if kind.root == "DATE":
        return [_date_text(day) for day in column.cast(pa.int32()).to_pylist()]
    values = column.to_pylist()
    if kind.root in ("FLOAT", "DOUBLE"):
        return [None if value is None else float_text(value) for value in values]
    if kind.root == "DECIMAL":
        return [None if value is None else f"{value:f}" for value in values]
    if pa.types.is_binary(column.type):
        return [None if value is None else value.hex() for value in values]
    return values


def _epoch_time(tick: int, per_millisecond: float) -> dict[str, int]:
    if per_millisecond < 1:
        return {"ms": tick * 1000, "ns": 0}
    millis, rest = divmod(tick, int(per_millisecond))
    return {"ms": millis, "ns": rest * 10**6 // int(per_millisecond)}


def _date_text(day: int | None) -> str | None:
    if day is None:
        return None
    ordinal = day + datetime.date(1970, 1, 1).toordinal()
    if 1 <= ordinal <= datetime.date.max.toordinal():
        return datetime.date.fromordinal(ordinal).isoformat()
    return f"d:{day}"


# ------------------------------------------------------------------ metadata


def snapshots(args: Args) -> Any:
    """All snapshots by rising id."""
    return [
        {
            "id": snapshot.id,
            "kind": snapshot.commit_kind,
            "schemaId": snapshot.schema_id,
            "totalRecordCount": snapshot.total_record_count,
            "deltaRecordCount": snapshot.delta_record_count,
            "timeMillis": snapshot.time_millis,
            "commitUser": snapshot.commit_user,
            "commitIdentifier": snapshot.commit_identifier,
        }
        for snapshot in _open(args).snapshot_manager().list_snapshots()
    ]


def files(args: Args) -> Any:
    """The live data files by the library's own scan."""
    options = {"scan.snapshot-id": str(args["snapshot"])} if "snapshot" in args else {}
    table = _open(args, options)
    if _latest(table) == 0:
        return []
    scanner = table.new_read_builder().new_scan().file_scanner
    return [_file(entry) for entry in scanner.plan_files()]


def _file(entry: Any) -> dict[str, Any]:
    file = entry.file
    return {
        "partition": _row_hex(entry.partition),
        "partition_values": [str(value) for value in entry.partition.values],
        "bucket": entry.bucket,
        "totalBuckets": entry.total_buckets,
        "level": file.level,
        "name": file.file_name,
        "size": file.file_size,
        "rowCount": file.row_count,
        "minKey": _row_hex(file.min_key),
        "maxKey": _row_hex(file.max_key),
        "minSeq": file.min_sequence_number,
        "maxSeq": file.max_sequence_number,
        "deleteRowCount": file.delete_row_count,
        "fileSource": _FILE_SOURCES.get(file.file_source),
        "schemaId": file.schema_id,
    }


# -------------------------------------------------------------------- probes


def binary_row(args: Args) -> Any:
    """The library's bytes and hash of each row; it has no separate writer of keys."""
    rows = [_binary(args["types"], values) for values in args["rows"]]
    return [
        {"hex": row.hex(), "hash": _signed(_hash_bytes_by_words(row[4:])), "key_hex": None}
        for row in rows
    ]


def bucket(args: Args) -> Any:
    """The bucket of each key row by the library's default function."""
    rows = [_binary(args["types"], values) for values in args["rows"]]
    return [_bucket_from_hash(_hash_bytes_by_words(row[4:]), args["buckets"]) for row in rows]


def _binary(types: list[str], values: list[Any]) -> bytes:
    fields = [DataField(i, f"f{i}", _parse(text)) for i, text in enumerate(types)]
    plain = [_plain(text, value) for text, value in zip(types, values, strict=True)]
    return GenericRowSerializer.to_bytes(GenericRow(plain, fields, RowKind.INSERT))


def _plain(type_text: str, value: Any) -> Any:
    plain = decode(type_text, value)
    kind = parse_type(type_text)
    if isinstance(plain, EpochTime):
        if plain.ns % 1000:
            raise Unsupported("nanoseconds in a binary row: pypaimon takes a datetime")
        # A datetime is what pypaimon takes, and decode gives one for at most microseconds.
        coarse = ScalarType(kind.root, 6, 0, kind.nullable)
        plain = decode(coarse, {"ms": plain.ms, "ns": plain.ns})
    if isinstance(plain, EpochTime) or (kind.root == "DATE" and isinstance(plain, int)):
        raise Unsupported("years outside 1..9999 in a binary row")
    return plain


def _row_hex(row: Any) -> str:
    return GenericRowSerializer.to_bytes(row).hex()


def _signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number


# -------------------------------------------------------------------- server


def _scalar(data_type: Any) -> ScalarType:
    if not isinstance(data_type, AtomicType):
        raise Unsupported(f"values of type {data_type}")
    return parse_type(data_type.type)


def _open(args: Args, options: dict[str, str] | None = None) -> Any:
    table = FileStoreTable.from_path(args["path"])
    return table.copy(options) if options else table


def _local(path: str) -> str:
    return path.removeprefix("file://").removeprefix("file:")


def _latest(table: Any) -> int:
    snapshot = table.snapshot_manager().get_latest_snapshot()
    return 0 if snapshot is None else snapshot.id


_OPERATIONS: dict[str, Callable[[Args], Any]] = {
    operation.__name__: operation
    for operation in (
        version,
        create_table,
        alter,
        write,
        read,
        snapshots,
        files,
        binary_row,
        bucket,
    )
}


def _run(request: Args) -> Any:
    op = request.pop("op", "")
    if op not in _OPERATIONS:
        raise Unsupported(f"pypaimon has no operation {op}")
    return _OPERATIONS[op](request)


def _answer(line: str) -> str:
    try:
        return json.dumps({"ok": True, "result": _run(json.loads(line))})
    except Exception as error:  # noqa: BLE001 the caller gets whatever went wrong
        return json.dumps({"ok": False, "error": _describe(error)})


def _describe(error: BaseException) -> str:
    text = f"{type(error).__qualname__}: {error}"
    cause = error.__cause__
    return text if cause is None else f"{text} <- {_describe(cause)}"


def main() -> None:
    """Serves requests until the input ends or asks to exit."""
    # A library that prints would corrupt the protocol, so stdout becomes stderr for all others.
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        if json.loads(line).get("op") == "exit":
            print('{"ok": true, "result": null}', file=protocol, flush=True)
            return
        print(_answer(line), file=protocol, flush=True)


if __name__ == "__main__":
    main()
