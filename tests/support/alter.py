"""ALTER TABLE without a peer: the next schema file, as Paimon would write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from desilt.table import paths
from desilt.table.datatypes import numbered, parse_type
from desilt.table.schema import Field, TableSchema, dump_schema
from desilt.table.table import Table

__all__ = ["alter", "set_options"]


def alter(table: Table, changes: Sequence[Mapping[str, Any]]) -> None:
    """Changes as `Peer.alter` takes them: add, rename, drop, type."""
    schema = table.schema
    for change in changes:
        schema = _changed(schema, change)
    _publish(table, schema)


def set_options(table: Table, **options: str) -> None:
    """Options with underscores for dashes."""
    named = {key.replace("_", "-"): value for key, value in options.items()}
    _publish(table, replace(table.schema, raw_options={**table.schema.raw_options, **named}))


def _publish(table: Table, schema: TableSchema) -> None:
    new = replace(schema, id=table.schema.id + 1)
    assert table.handle.storage.create(paths.schema_file(table.path, new.id), dump_schema(new))


def _changed(schema: TableSchema, change: Mapping[str, Any]) -> TableSchema:
    match change["op"]:
        case "add":
            ids = count(schema.highest_field_id + 1)
            added = Field(next(ids), change["name"], parse_type(change["type"]))
            added = replace(added, type=numbered(added.type, ids))
            return replace(schema, fields=(*schema.fields, added), highest_field_id=next(ids) - 1)
        case "drop":
            return replace(
                schema, fields=tuple(f for f in schema.fields if f.name != change["name"])
            )
        case "rename":
            return _one(schema, change["from"], name=change["to"])
        case "type":
            old = schema.column(change["name"]).type
            new = parse_type(change["type"])
            return _one(schema, change["name"], type=new if old.nullable else new.not_null())
        case other:
            raise ValueError(other)


def _one(schema: TableSchema, column: str, **changed: Any) -> TableSchema:
    fields = (replace(f, **changed) if f.name == column else f for f in schema.fields)
    return replace(schema, fields=tuple(fields))
