"""Table schemas: the JSON files, field ids, and what a table's keys are.

Spec: format §2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

import polars as pl
import pyarrow as pa

from .datatypes import (
    DataType,
    check_inside,
    dump_field,
    from_arrow,
    load_field,
    numbered,
    parse_type,
    refuse_inside,
    to_polars,
)
from .datatypes import Field as Field  # a column is a field, and asked for here
from .errors import CorruptTable, InvalidRequest, UnsupportedFeature
from .options import TableOptions
from .options_refused import refuse_unsupported

KEY_PREFIX = "_KEY_"
SEQUENCE = "_SEQUENCE_NUMBER"
KIND = "_VALUE_KIND"
KEY_ID_BASE = 1073741823
SEQUENCE_ID = 2147483646
KIND_ID = 2147483645
SCHEMA_VERSION = 3
_SYSTEM = frozenset({SEQUENCE, KIND, "_LEVEL", "rowkind", "_ROW_ID"})


@dataclass(frozen=True, slots=True)
class TableSchema:
    """One version of a table's schema.

    Invariants, checked on construction: names are unique (in a ROW, too) and not reserved; fields
    of ROWs have ids; keys name columns; the primary key is more than the partition keys.
    """

    id: int
    fields: tuple[Field, ...]
    partition_keys: tuple[str, ...]
    primary_keys: tuple[str, ...]
    raw_options: Mapping[str, str]
    highest_field_id: int
    comment: str | None = None
    time_millis: int = 0
    _by_name: dict[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {f.name: f for f in self.fields}
        object.__setattr__(self, "_by_name", by_name)
        if len(by_name) != len(self.fields):
            raise ValueError("column names repeat")
        for name in by_name:
            if name in _SYSTEM or name.startswith(KEY_PREFIX):
                raise ValueError(f"column name is reserved: {name}")
        for key in (*self.partition_keys, *self.primary_keys):
            if key not in by_name:
                raise ValueError(f"key is no column: {key}")
        for f in self.fields:
            check_inside(f)
        if self.primary_keys and not self.trimmed_keys:
            raise ValueError("the primary key holds nothing but partition keys")

    @property
    def keyed(self) -> bool:
        return bool(self.primary_keys)

    @property
    def trimmed_keys(self) -> tuple[str, ...]:
        """Primary key without partition keys: what files are sorted by."""
        return tuple(k for k in self.primary_keys if k not in self.partition_keys)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f.name for f in self.fields)

    @property
    def options(self) -> TableOptions:
        return TableOptions(self.raw_options, self.keyed)

    @property
    def bucket_keys(self) -> tuple[str, ...]:
        """Columns hashed to a bucket; empty for an append table without buckets."""
        text = self.raw_options.get("bucket-key", "")
        named = tuple(k.strip() for k in text.split(",") if k.strip())
        return named or self.trimmed_keys

    def column(self, name: str) -> Field:
        return self._by_name[name]

    def types(self, names: Sequence[str]) -> tuple[DataType, ...]:
        return tuple(self._by_name[n].type for n in names)

    @property
    def polars(self) -> pl.Schema:
        """Columns as a reader returns them."""
        return pl.Schema({f.name: to_polars(f.type) for f in self.fields})

    @property
    def physical(self) -> tuple[Field, ...]:
        """Columns of a data file in order (format §8.1): keys, sequence, kind, all columns."""
        if not self.keyed:
            return self.fields
        keys = tuple(
            Field(KEY_ID_BASE + f.id, KEY_PREFIX + f.name, f.type.not_null())
            for f in (self._by_name[k] for k in self.trimmed_keys)
        )
        system = (
            Field(SEQUENCE_ID, SEQUENCE, parse_type("BIGINT NOT NULL")),
            Field(KIND_ID, KIND, parse_type("TINYINT NOT NULL")),
        )
        return (*keys, *system, *self.fields)


def load_schema(data: bytes, path: str) -> TableSchema:
    """The schema in a schema file.

    Raises:
        CorruptTable: not JSON, or fields missing or contradictory; names the file and field.
        UnsupportedFeature: a newer version or a column type desilt does not know.
    """
    try:
        raw = json.loads(data)
        version = _known_version(raw)
        return TableSchema(
            id=int(raw["id"]),
            fields=tuple(load_field(f) for f in raw["fields"]),
            partition_keys=tuple(raw.get("partitionKeys") or ()),
            primary_keys=tuple(raw.get("primaryKeys") or ()),
            raw_options=_options(version, raw.get("options") or {}),
            highest_field_id=int(raw["highestFieldId"]),
            comment=raw.get("comment"),
            time_millis=int(raw.get("timeMillis") or 0),
        )
    except (UnsupportedFeature, CorruptTable) as error:
        raise error.at(file=path) from error
    except KeyError as error:
        raise CorruptTable("schema lacks a field", field=error.args[0], file=path) from error
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptTable("schema is not readable", reason=str(error), file=path) from error


def _known_version(raw: Mapping[str, Any]) -> int:
    version = int(raw.get("version", 1))
    if version > SCHEMA_VERSION:
        raise UnsupportedFeature("unknown schema version", version=version)
    return version


def _options(version: int, raw: Mapping[str, str]) -> dict[str, str]:
    """Options with the defaults that old schema versions had (format §2.1)."""
    options = {str(k): str(v) for k, v in raw.items()}
    if version <= 1:
        options.setdefault("bucket", "1")
    if version <= 2:
        options.setdefault("file.format", "orc")
    return options


def dump_schema(schema: TableSchema) -> bytes:
    """The schema file's bytes; a missing comment is left out, as Java reads null as text."""
    raw: dict[str, object] = {
        "version": SCHEMA_VERSION,
        "id": schema.id,
        "fields": [dump_field(f) for f in schema.fields],
        "highestFieldId": schema.highest_field_id,
        "partitionKeys": list(schema.partition_keys),
        "primaryKeys": list(schema.primary_keys),
        "options": dict(schema.raw_options),
    }
    if schema.comment is not None:
        raw["comment"] = schema.comment
    raw["timeMillis"] = schema.time_millis
    return json.dumps(raw, indent=2, ensure_ascii=False).encode()


def new_schema(
    columns: Mapping[str, DataType],
    *,
    primary_key: Sequence[str],
    partition_by: Sequence[str],
    options: Mapping[str, str],
    comment: str | None,
    time_millis: int,
) -> TableSchema:
    """The first schema of a table, checked as Paimon checks it (format §2.6).

    Raises:
        InvalidRequest: keys or options contradict each other.
        UnsupportedFeature: an option desilt does not support.
    """
    ids = count()
    fields = tuple(
        Field(next(ids), name, numbered(t.not_null() if name in primary_key else t, ids))
        for name, t in columns.items()
    )
    if not fields:
        raise InvalidRequest("a table needs a column")
    for keys in (primary_key, partition_by):
        if len(set(keys)) != len(keys):
            raise InvalidRequest("a key column repeats", columns=",".join(keys))
    if primary_key and not set(partition_by) <= set(primary_key):
        raise InvalidRequest(
            "the primary key must hold every partition column",
            column=min(set(partition_by) - set(primary_key)),
        )
    try:
        schema = TableSchema(
            0, fields, tuple(partition_by), tuple(primary_key), dict(options),
            next(ids) - 1, comment, time_millis,
        )  # fmt: skip
    except ValueError as error:
        raise InvalidRequest(str(error)) from error
    check_supported(schema)
    return schema


def check_supported(schema: TableSchema) -> None:
    """Refuse by name what this release does not do with such a table."""
    options = schema.options
    refuse_unsupported(options)
    _check_types(schema)
    for name in schema.partition_keys if schema.keyed else ():
        if name not in schema.primary_keys:
            raise UnsupportedFeature("keys across partitions are not supported", column=name)
    if options.bucket == -1 and "bucket-key" in schema.raw_options:
        raise InvalidRequest("bucket-key needs a bucket count", option="bucket-key")
    if options.bucket > 0 and not schema.bucket_keys:
        raise InvalidRequest("an append table with buckets needs a bucket-key", option="bucket-key")
    for key in schema.bucket_keys:
        if key not in schema.names:
            raise InvalidRequest("bucket-key is no column", column=key)
        if key in schema.partition_keys or (schema.keyed and key not in schema.primary_keys):
            raise InvalidRequest("bucket-key must be part of the trimmed primary key", column=key)
    for name in options.sequence_fields:
        if name not in schema.names:
            raise InvalidRequest("sequence.field is no column", column=name)
    if options.sequence_fields and not schema.keyed:
        raise InvalidRequest("sequence.field needs a primary key", option="sequence.field")


def _check_types(schema: TableSchema) -> None:
    """What may not be nested, and what is refused inside nested columns."""
    uses = {
        "primary key": schema.primary_keys,
        "partition key": schema.partition_keys,
        "bucket-key": schema.bucket_keys,
        "sequence.field": schema.options.sequence_fields,
    }
    for use, names in uses.items():
        for f in (f for f in schema.fields if f.name in names and f.type.nested):
            raise UnsupportedFeature(
                "a nested column cannot be used so", use=use, column=f.name, type=str(f.type)
            )
    for f in schema.fields:
        refuse_inside(f)


def columns_of(schema: object) -> dict[str, DataType]:
    """Column types from a pyarrow schema, a Polars schema, or a mapping of name to type text.

    Fields of ROWs have no ids yet.
    """
    if isinstance(schema, pa.Schema):
        return {f.name: from_arrow(f.type, nullable=f.nullable) for f in schema}
    if isinstance(schema, pl.Schema):
        return columns_of(pl.DataFrame(schema=schema).to_arrow().schema)
    if isinstance(schema, Mapping):
        given = cast(Mapping[str, object], schema)
        return {str(name): _one_type(value) for name, value in given.items()}
    raise InvalidRequest("schema must be a pyarrow or Polars schema or a mapping", got=type(schema))


def _one_type(value: Any) -> DataType:
    given = repr(value)
    if isinstance(value, DataType):
        return value
    if isinstance(value, str):
        return parse_type(value)
    if isinstance(value, pa.DataType):
        return from_arrow(value)
    if isinstance(value, pl.DataType) or (
        isinstance(value, type) and issubclass(value, pl.DataType)
    ):
        frame = pl.DataFrame(schema={"c": value})
        return from_arrow(frame.to_arrow().schema.field("c").type)
    raise InvalidRequest("no column type", got=given)
