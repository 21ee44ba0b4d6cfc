"""Rows as a caller hands them over, made rows of the table: every column, each of its type.

A nested column may come as Polars has it: lists, structs in any order of their fields, maps also as
lists of ``key`` and ``value``. What does not fit is refused by its place: ``column=r.a``.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from .datatypes import (
    BYTES,
    INTEGERS,
    MAPS,
    MAX_LENGTH,
    STRINGS,
    DataType,
    Field,
    Root,
    to_polars,
    walk,
)
from .errors import BadData, InvalidRequest, first_line
from .nested import Dtype, entry_dtypes, parts, reshaped
from .schema import TableSchema


def conform(frame: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """The rows with exactly the table's columns and types.

    Raises:
        InvalidRequest, BadData: naming the column.
    """
    unknown = set(frame.columns) - set(schema.names)
    if unknown:
        raise InvalidRequest("no such column", column=min(unknown))
    columns: list[pl.Series] = []
    for field in schema.fields:
        if field.name in frame.columns:
            columns.append(_conformed(frame.get_column(field.name), field))
            continue
        if not field.type.nullable:
            raise InvalidRequest("column is missing and NOT NULL", column=field.name)
        nothing = pl.Series(field.name, [None], to_polars(field.type))
        columns.append(nothing.new_from_index(0, frame.height))
    return pl.DataFrame(columns)


def _conformed(given: pl.Series, field: Field) -> pl.Series:
    dtype = to_polars(field.type)
    _check_shape(given.dtype, field.type, field.name)
    try:
        series = given if given.dtype == dtype else _cast(given, field.type)
    except pl.exceptions.PolarsError as error:
        raise _unfit(field.name, field.type, first_line(error)) from error
    _check_values(given, series, field.type, field.name)
    return series


def _cast(given: pl.Series, data_type: DataType) -> pl.Series:
    made = reshaped(pl.col(given.name), given.dtype, data_type, data_type)
    return given.to_frame().select(made.cast(to_polars(data_type)).alias(given.name)).to_series()


def _unfit(place: str, data_type: DataType, reason: str) -> BadData:
    return BadData("values do not fit the column", column=place, type=str(data_type), reason=reason)


def _check_shape(dtype: Dtype, data_type: DataType, place: str) -> None:
    """Lists for lists, structs for ROWs, and no field that the table does not have."""
    if isinstance(dtype, pl.Null):
        return
    inner = _inner_dtypes(dtype, data_type, place)
    if inner is None:
        raise _unfit(place, data_type, f"given {dtype}")
    for part in data_type.parts:
        if part.name in inner:
            _check_shape(inner[part.name], part.type, f"{place}.{part.name}")


def _inner_dtypes(dtype: Dtype, data_type: DataType, place: str) -> dict[str, Dtype] | None:
    """By the names of the parts; None where ``dtype`` is of another kind."""
    if data_type.root is Root.ROW and isinstance(dtype, pl.Struct):
        fields: dict[str, Dtype] = {f.name: f.dtype for f in dtype.fields}
        unknown = fields.keys() - {f.name for f in data_type.parts}
        if unknown:
            raise InvalidRequest("no such column", column=f"{place}.{min(unknown)}")
        return fields
    if data_type.root is Root.ARRAY and isinstance(dtype, (pl.List, pl.Array)):
        return {"element": dtype.inner}
    if data_type.root in MAPS:
        entry = entry_dtypes(dtype)
        return None if entry is None else dict(zip(("key", "value"), entry, strict=True))
    return None if data_type.nested or dtype.is_nested() else {}


# Values


def _check_values(given: pl.Series, made: pl.Series, data_type: DataType, place: str) -> None:
    """
    Raises:
        BadData: nulls where none may be, or what a cast let pass although it changed values.
    """
    if not data_type.nullable and made.null_count():
        raise BadData("null in a NOT NULL column", column=place)
    misfit = _misfit(given, made, data_type)
    if misfit is not None:
        raise _unfit(place, data_type, misfit)
    if not data_type.nested or (given.dtype == made.dtype and not _limited(data_type)):
        return
    for part, before, after in _parts(given, made, data_type):
        if len(before) != len(after):
            raise _unfit(place, data_type, "a map key repeats")
        _check_values(before, after, part.type, f"{place}.{part.name}")


def _limited(data_type: DataType) -> bool:
    """Whether something inside may have to be refused; taking columns apart costs a copy."""
    inside = [part.type for t in walk(data_type) for part in t.parts]
    return any(not t.nullable or _length_max(t) < MAX_LENGTH for t in inside)


def _length_max(data_type: DataType) -> int:
    return data_type.length if data_type.root in STRINGS | BYTES else MAX_LENGTH


def _parts(
    given: pl.Series, made: pl.Series, data_type: DataType
) -> Iterator[tuple[Field, pl.Series, pl.Series]]:
    """Each part of the type, as it was given and as it was made."""
    before = {} if isinstance(given.dtype, pl.Null) else parts(given)
    if data_type.root in MAPS and isinstance(given.dtype, pl.List):
        before = parts(before["element"])  # a list of entries
    after = parts(made)
    for part in data_type.parts:
        yield part, before.get(part.name, after[part.name]), after[part.name]


def _misfit(given: pl.Series, series: pl.Series, data_type: DataType) -> str | None:
    """What the cast let pass although it changed values or their type's length forbids them."""
    if data_type.root in INTEGERS and (given.dtype.is_float() or given.dtype.is_decimal()):
        return None if (series.cast(given.dtype) == given).all() else "fractions would be cut off"
    if _length_max(data_type) == MAX_LENGTH:
        return None
    text = data_type.root in STRINGS
    sizes = series.str.len_chars() if text else series.bin.size()
    return "longer than the type allows" if (sizes > data_type.length).any() else None


# Keys


def conform_keys(keys: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """The primary keys that a caller names, in the schema's order, each column of its type.

    Raises:
        InvalidRequest: a column is missing, or is none of the primary key; a key is null.
        BadData: a value does not fit its column.
    """
    if not schema.keyed:
        raise InvalidRequest("looking rows up needs a primary key")
    for name in keys.columns:
        if name not in schema.primary_keys:
            raise InvalidRequest("no column of the primary key", column=name)
    for name in schema.primary_keys:
        if name not in keys.columns:
            raise InvalidRequest("a column of the primary key is missing", column=name)
        if keys.get_column(name).null_count():
            raise InvalidRequest("a key is null", column=name)
    return pl.DataFrame(
        [_conformed(keys.get_column(name), schema.column(name)) for name in schema.primary_keys]
    )


# Deletes


def delete_rows(keys: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """Whole rows for a delete by key: other columns null, or a zero where null may not be.

    Raises:
        InvalidRequest: a key, partition or sequence column is missing.
    """
    if not schema.keyed:
        raise InvalidRequest("deleting by key needs a primary key")
    needed = (*schema.primary_keys, *schema.partition_keys, *schema.options.sequence_fields)
    for name in needed:
        if name not in keys.columns:
            raise InvalidRequest("a delete needs this column", column=name)
    zeros = [
        _zero(f.type).alias(f.name).new_from_index(0, keys.height)
        for f in schema.fields
        if not f.type.nullable and f.name not in keys.columns
    ]
    return keys.with_columns(zeros)


def _zero(data_type: DataType) -> pl.Series:
    """One value that is not null: nothing in lists, zeros in NOT NULL fields of ROWs."""
    dtype, root = to_polars(data_type), data_type.root
    if root is Root.ROW:
        return pl.DataFrame([_field_zero(f) for f in data_type.parts]).to_struct()
    if data_type.nested:
        return pl.Series([{} if root in MAPS else []], dtype=dtype)
    plain: object = 0
    if root in STRINGS:
        plain = ""
    elif root in BYTES:
        plain = b""
    elif root is Root.BOOLEAN:
        plain = False
    return pl.Series([plain]).cast(dtype)


def _field_zero(field: Field) -> pl.Series:
    if field.type.nullable:
        return pl.Series(field.name, [None], to_polars(field.type))
    return _zero(field.type).alias(field.name)
