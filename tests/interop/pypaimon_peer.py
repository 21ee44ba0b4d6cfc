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
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import pyarrow as pa
from canonical import ColumnType, EpochTime, decode, float_text, parse_type
from pypaimon import CatalogFactory, Schema
from pypaimon.schema.data_types import (
    ArrayType,
    AtomicInteger,
    AtomicType,
    DataField,
    DataTypeParser,
    MapType,
    PyarrowFieldParser,
    RowType,
    reassign_field_id,
)
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
    schema = Schema(
        fields=_numbered(args["columns"]),
        partition_keys=args.get("partition_keys") or [],
        primary_keys=args.get("primary_keys") or [],
        options=args.get("options") or {},
    )
    catalog = _catalog(args) or CatalogFactory.create({"warehouse": args["warehouse"]})
    catalog.create_database(args["database"], True)
    name = f"{args['database']}.{args['table']}"
    catalog.create_table(name, schema, False)
    location = catalog.get_table(name).table_path
    if "catalog" in args:
        return {"path": name, "location": location}
    return {"path": _local(location)}


def _numbered(columns: list[Args]) -> list[Any]:
    """Columns with ids as the library itself hands them out when one is added."""
    ids = AtomicInteger(-1)
    fields = []
    for column in columns:
        own = ids.increment_and_get()
        data_type = reassign_field_id(_parse(column["type"]), ids)
        fields.append(DataField(own, column["name"], data_type))
    return fields


def alter(args: Args) -> Any:
    """Applies schema changes through the catalog that the table's path belongs to."""
    changes = [_change(change) for change in args["changes"]]
    if catalog := _catalog(args):
        catalog.alter_table(args["path"], changes)
        return {"schemaId": _open(args).table_schema.id}
    path = Path(args["path"])
    if not path.parent.name.endswith(_DATABASE_SUFFIX):
        raise ValueError(f"{path} is not in a warehouse's database")
    catalog = CatalogFactory.create({"warehouse": str(path.parents[1])})
    name = f"{path.parent.name.removesuffix(_DATABASE_SUFFIX)}.{path.name}"
    catalog.alter_table(name, changes)
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


def _parse(type_value: str | dict[str, Any]) -> Any:
    """The library's own reading of a type's text, or of its JSON form for nested types."""
    return DataTypeParser.parse_data_type(type_value)


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
    kinds = [_kind(field.type) for field in table.table_schema.fields]
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


def _array(kind: ColumnType, arrow: pa.DataType, values: Sequence[Any]) -> pa.Array:
    if kind.root == "ROW":
        return _structs(kind, list(arrow), [v if v is None else v["row"] for v in values])
    if kind.root == "ARRAY":
        items = _array(kind.inner[0], arrow.value_type, _joined(values))
        return pa.ListArray.from_arrays(_offsets(values), items, type=arrow)
    if kind.root == "MAP":
        entries = [v if v is None else v["map"] for v in values]
        keys, items = [[entry[i] for entry in _joined(entries)] for i in (0, 1)]
        return pa.MapArray.from_arrays(
            _offsets(entries),
            _array(kind.inner[0], arrow.key_type, keys),
            _array(kind.inner[1], arrow.item_type, items),
            type=arrow,
        )
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


def _joined(lists: Sequence[Any]) -> list[Any]:
    return [item for items in lists if items is not None for item in items]


def _offsets(lists: Sequence[Any]) -> pa.Array:
    """Where each list begins among all items; null for a null list."""
    offsets, end = [], 0
    for items in lists:
        offsets.append(None if items is None else end)
        end += 0 if items is None else len(items)
    return pa.array([*offsets, end], pa.int32())


def _structs(kind: ColumnType, fields: list[pa.Field], rows: list[Any]) -> pa.Array:
    columns = [
        _array(part, field.type, [None if row is None else row[i] for row in rows])
        for i, (part, field) in enumerate(zip(kind.inner, fields, strict=True))
    ]
    nulls = pa.array([row is None for row in rows], pa.bool_())
    return pa.StructArray.from_arrays(columns, fields=fields, mask=nulls)


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
    columns = [_wire(_kind(fields[name].type), data.column(name)) for name in names]
    return {"columns": names, "rows": [list(row) for row in zip(*columns, strict=True)]}


def _wire(kind: ColumnType, column: pa.ChunkedArray) -> list[Any]:
    """A whole column in the canonical encoding; by column, because rows come by the 100,000."""
    if kind.parts:
        return _nested_wire(kind, column)
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


def _nested_wire(kind: ColumnType, column: pa.ChunkedArray) -> list[Any]:
    if kind.root == "ROW":
        parts = zip(kind.inner, column.flatten(), strict=True)
        rows = zip(*(_wire(part, field) for part, field in parts), strict=True)
        nulls = column.is_null().to_pylist()
        return [None if null else {"row": list(row)} for null, row in zip(nulls, rows, strict=True)]
    items = pa.chunked_array([_items(chunk) for chunk in column.chunks], _item_type(column.type))
    if kind.root == "ARRAY":
        made = iter(_wire(kind.inner[0], items))
    else:
        pair = ColumnType("ROW", 0, 0, False, kind.parts)
        made = iter([entry["row"] for entry in _wire(pair, items)])
    lists = [
        None if count is None else [next(made) for _ in range(count)]
        for chunk in column.chunks
        for count in _counts(chunk)
    ]
    if kind.root == "ARRAY":
        return lists
    return [None if entries is None else {"map": entries} for entries in lists]


def _counts(lists: pa.Array) -> list[int | None]:
    offsets, valid = lists.offsets.to_pylist(), lists.is_valid().to_pylist()
    return [offsets[i + 1] - offsets[i] if present else None for i, present in enumerate(valid)]


def _items(lists: pa.Array) -> pa.Array:
    """All elements, or all entries; maps have no `flatten`."""
    if not pa.types.is_map(lists.type):
        return lists.flatten()
    entries = pa.StructArray.from_arrays(
        [lists.keys, lists.items], fields=list(_item_type(lists.type))
    )
    present = [
        entries.slice(start, count)
        for start, count in zip(lists.offsets.to_pylist()[:-1], _counts(lists), strict=True)
        if count
    ]
    return pa.concat_arrays(present) if present else entries.slice(0, 0)


def _item_type(arrow: pa.DataType) -> pa.DataType:
    """Of a list's elements, or of a map's entries."""
    if pa.types.is_map(arrow):
        return pa.struct([arrow.key_field, arrow.item_field])
    return arrow.value_type


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
        coarse = ColumnType(kind.root, 6, 0, kind.nullable)
        plain = decode(coarse, {"ms": plain.ms, "ns": plain.ns})
    if isinstance(plain, EpochTime) or (kind.root == "DATE" and isinstance(plain, int)):
        raise Unsupported("years outside 1..9999 in a binary row")
    return plain


def _row_hex(row: Any) -> str:
    return GenericRowSerializer.to_bytes(row).hex()


def _signed(number: int) -> int:
    return number - 2**32 if number >= 2**31 else number


# -------------------------------------------------------------------- server


def _kind(data_type: Any) -> ColumnType:
    if isinstance(data_type, AtomicType):
        return parse_type(data_type.type)
    if isinstance(data_type, ArrayType):
        parts = {"element": data_type.element}
    elif isinstance(data_type, MapType):
        parts = {"key": data_type.key, "value": data_type.value}
    elif isinstance(data_type, RowType):
        parts = {field.name: field.type for field in data_type.fields}
    else:
        raise Unsupported(f"values of type {data_type}")
    root = type(data_type).__name__.removesuffix("Type").upper()
    kinds = tuple((name, _kind(part)) for name, part in parts.items())
    return ColumnType(root, 0, 0, data_type.nullable, kinds)


def _catalog(args: Args) -> Any:
    """The catalog that the request's options under "catalog" describe; None when there are none."""
    if "catalog" not in args:
        return None
    return CatalogFactory.create(args["catalog"])


def _open(args: Args, options: dict[str, str] | None = None) -> Any:
    if catalog := _catalog(args):
        table = catalog.get_table(args["path"])
    else:
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
