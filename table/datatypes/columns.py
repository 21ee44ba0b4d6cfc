"""What Paimon types are as columns: in memory (Polars), in files (Arrow with field ids), and back.

A MAP or MULTISET is a Polars Map, a ROW a Struct, an ARRAY a List.

Spec: format §2.3 (ids inside nested columns), §9.2; reference class ``ParquetSchemaConverter``.
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from ..errors import InvalidRequest
from .record import (
    BYTES,
    MAPS,
    MAX_LENGTH,
    NO_ID,
    STRINGS,
    TIMESTAMPS,
    DataType,
    Field,
    Root,
    array_of,
    map_of,
    row_of,
)

_PART_ID_BASE = 536870911
_PART_ID_STEP = 1024

_POLARS: dict[Root, pl.DataType] = {
    Root.BOOLEAN: pl.Boolean(),
    Root.TINYINT: pl.Int8(),
    Root.SMALLINT: pl.Int16(),
    Root.INT: pl.Int32(),
    Root.BIGINT: pl.Int64(),
    Root.FLOAT: pl.Float32(),
    Root.DOUBLE: pl.Float64(),
    Root.CHAR: pl.String(),
    Root.VARCHAR: pl.String(),
    Root.BINARY: pl.Binary(),
    Root.VARBINARY: pl.Binary(),
    Root.DATE: pl.Date(),
    Root.TIME: pl.Time(),
}


def time_unit(data_type: DataType) -> str:
    """Arrow unit of a timestamp: ms up to precision 3, us up to 6, else ns."""
    return "ms" if data_type.precision <= 3 else "us" if data_type.precision <= 6 else "ns"


def to_polars(data_type: DataType) -> pl.DataType:
    """The Polars type that holds the column in memory."""
    root = data_type.root
    if root is Root.DECIMAL:
        return pl.Decimal(data_type.precision, data_type.scale)
    if root in TIMESTAMPS:
        zone = "UTC" if root is Root.TIMESTAMP_LTZ else None
        return pl.Datetime(time_unit(data_type), zone)  # type: ignore[arg-type]  # our own literal
    if root is Root.ARRAY:
        return pl.List(to_polars(data_type.element))
    if root in MAPS:
        return pl.Map(to_polars(data_type.key), to_polars(data_type.value))
    if root is Root.ROW:
        return pl.Struct({f.name: to_polars(f.type) for f in data_type.parts})
    return _POLARS[root]


_ARROW: dict[Root, pa.DataType] = {
    Root.BOOLEAN: pa.bool_(),
    Root.TINYINT: pa.int8(),
    Root.SMALLINT: pa.int16(),
    Root.INT: pa.int32(),
    Root.BIGINT: pa.int64(),
    Root.FLOAT: pa.float32(),
    Root.DOUBLE: pa.float64(),
    Root.CHAR: pa.large_string(),
    Root.VARCHAR: pa.large_string(),
    Root.BINARY: pa.large_binary(),
    Root.VARBINARY: pa.large_binary(),
    Root.DATE: pa.date32(),
    Root.TIME: pa.time32("ms"),
}


def arrow_field(field: Field) -> pa.Field:
    """The column as it is encoded: nullability and Paimon's field ids included, inside it too."""
    return _with_id(field, _arrow(field.type, field.id, 0), field.id)


def to_arrow(data_type: DataType) -> pa.DataType:
    """The Arrow type that is written to files (strings large, as Polars' encoder wants them)."""
    return _arrow(data_type, 0, 0)


def _arrow(data_type: DataType, field_id: int, depth: int) -> pa.DataType:
    """
    Args:
        field_id: of the column or ROW field that the type is, or is a part of.
        depth: of lists and maps below that field.
    """
    root = data_type.root
    if root is Root.DECIMAL:
        return pa.decimal128(data_type.precision, data_type.scale)
    if root in TIMESTAMPS:
        return pa.timestamp(time_unit(data_type), "UTC" if root is Root.TIMESTAMP_LTZ else None)
    if root is Root.ROW:
        return pa.struct([arrow_field(f) for f in data_type.parts])
    if root is Root.ARRAY:
        return pa.large_list(_arrow_part(data_type.parts[0], field_id, depth + 1))
    if root in MAPS:
        key, value = data_type.parts
        key = Field(NO_ID, key.name, key.type.not_null())
        return pa.map_(
            _arrow_part(key, field_id, depth + 1, sign=-1),
            _arrow_part(value, field_id, depth + 1),
        )
    return _ARROW[root]


def _arrow_part(part: Field, field_id: int, depth: int, sign: int = 1) -> pa.Field:
    own = _PART_ID_BASE + sign * (_PART_ID_STEP * field_id + depth)
    # Ids are 32 bits, and Java lets large ones wrap around.
    return _with_id(part, _arrow(part.type, field_id, depth), (own + 2**31) % 2**32 - 2**31)


def _with_id(field: Field, arrow: pa.DataType, field_id: int) -> pa.Field:
    return pa.field(field.name, arrow, field.type.nullable, {"PARQUET:field_id": str(field_id)})


_PRECISION = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def from_arrow(arrow: pa.DataType, *, nullable: bool = True) -> DataType:
    """The Paimon type a column of this Arrow type gets when a table is created from it.

    Raises:
        InvalidRequest: Paimon has no such type (unsigned integers, lists of fixed size …).
    """
    t = pa.types
    if t.is_struct(arrow):
        fields = [_from_field(arrow.field(i)) for i in range(arrow.num_fields)]
        return row_of(fields, nullable=nullable)
    if t.is_map(arrow):
        key, value = _from_field(arrow.key_field).type, _from_field(arrow.item_field).type
        return map_of(key, value, nullable=nullable)
    if any(test(arrow) for test in (t.is_list, t.is_large_list, t.is_list_view)):
        return array_of(_from_field(arrow.value_field).type, nullable=nullable)
    return _from_primitive(arrow, nullable=nullable)


def _from_field(field: pa.Field) -> Field:
    return Field(NO_ID, field.name, from_arrow(field.type, nullable=field.nullable))


def _from_primitive(arrow: pa.DataType, *, nullable: bool) -> DataType:
    root = _arrow_root(arrow)
    if root is None:
        raise InvalidRequest("no Paimon type for this Arrow type", type=str(arrow))
    if root is Root.DECIMAL:
        return DataType(root, nullable, precision=arrow.precision, scale=arrow.scale)
    if root in TIMESTAMPS:
        return DataType(root, nullable, precision=_PRECISION[arrow.unit])
    if root is Root.TIME:
        return DataType(root, nullable, precision=min(3, _PRECISION[arrow.unit]))
    if pa.types.is_fixed_size_binary(arrow):
        return DataType(Root.BINARY, nullable, length=arrow.byte_width)
    length = MAX_LENGTH if root in STRINGS | BYTES else 0
    return DataType(root, nullable, length=length)


def _arrow_root(arrow: pa.DataType) -> Root | None:
    t = pa.types
    tests = (
        (t.is_boolean, Root.BOOLEAN),
        (t.is_int8, Root.TINYINT),
        (t.is_int16, Root.SMALLINT),
        (t.is_int32, Root.INT),
        (t.is_int64, Root.BIGINT),
        (t.is_float32, Root.FLOAT),
        (t.is_float64, Root.DOUBLE),
        (t.is_decimal, Root.DECIMAL),
        (t.is_string, Root.VARCHAR),
        (t.is_large_string, Root.VARCHAR),
        (t.is_string_view, Root.VARCHAR),
        (t.is_binary, Root.VARBINARY),
        (t.is_large_binary, Root.VARBINARY),
        (t.is_binary_view, Root.VARBINARY),
        (t.is_fixed_size_binary, Root.BINARY),
        (t.is_date32, Root.DATE),
        (t.is_time, Root.TIME),
    )
    for test, root in tests:
        if test(arrow):
            return root
    if t.is_timestamp(arrow):
        return Root.TIMESTAMP_LTZ if arrow.tz else Root.TIMESTAMP
    return None
