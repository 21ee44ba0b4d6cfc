"""Nested columns, looked into and made over, a whole column at a time.

*Leaves* are the flat columns inside a nested one. `reshaped` takes ROW fields out of a column as it
lies in a file (or was handed to us) and lays them out as a type wants them: by id, in order, null
where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
from polars.datatypes import DataTypeClass

from .datatypes import MAPS, DataType, Root, to_polars

Dtype = pl.DataType | DataTypeClass
"""What Polars calls the type of a column."""


def leaves(series: pl.Series, *wanted: type[pl.DataType]) -> Iterator[pl.Series]:
    """The flat columns of these types in a column, or the column itself if it is flat.

    Each holds the values that are really there: none of a null list or ROW.
    """
    dtype = series.dtype
    if not _holds(dtype, wanted):
        return
    if not dtype.is_nested():
        yield series
        return
    for part in parts(series).values():
        yield from leaves(part, *wanted)


def _holds(dtype: Dtype, wanted: tuple[type[pl.DataType], ...]) -> bool:
    """Whether to look inside: taking a column apart costs a copy of it."""
    if isinstance(dtype, pl.Struct):
        return any(_holds(f.dtype, wanted) for f in dtype.fields)
    if isinstance(dtype, pl.Map):
        return _holds(dtype.key, wanted) or _holds(dtype.value, wanted)
    if isinstance(dtype, (pl.List, pl.Array)):
        return _holds(dtype.inner, wanted)
    return isinstance(dtype, wanted)


def parts(series: pl.Series) -> dict[str, pl.Series]:
    """What a nested column holds one level down, by the names of a type's parts."""
    dtype = series.dtype
    if isinstance(dtype, pl.Struct):
        present = series.drop_nulls()
        return {f.name: present.struct.field(f.name) for f in dtype.fields}
    if isinstance(dtype, pl.Map):
        return parts(_elements(series.map.entries()))
    return {"element": _elements(series.arr.to_list() if isinstance(dtype, pl.Array) else series)}


def _elements(lists: pl.Series) -> pl.Series:
    """All elements of all lists; exploding alone would make a null of an empty list."""
    return lists.filter(lists.list.len() > 0).explode()


def reshaped(column: pl.Expr, dtype: Dtype, written: DataType, wanted: DataType) -> pl.Expr:
    """The column as the type ``wanted`` has it, by field id; a plain cast is all that is left.

    Args:
        dtype: of the column, as it really is.
        written: its type; fields that the column lacks are null.

    Returns:
        ``column`` itself where nothing is to be moved: taking columns apart costs a copy.
    """
    if isinstance(dtype, pl.Array):
        column, dtype = column.arr.to_list(), pl.List(dtype.inner)
    if wanted.root is Root.ROW and isinstance(dtype, pl.Struct):
        return _row(column, dtype, written, wanted)
    if wanted.root is Root.ARRAY and isinstance(dtype, pl.List):
        element = pl.element()
        made = reshaped(element, dtype.inner, written.element, wanted.element)
        return column if made is element else column.list.eval(made)
    entry = entry_dtypes(dtype)
    if wanted.root in MAPS and entry is not None:
        entries = column.map.entries() if isinstance(dtype, pl.Map) else column
        made = _entries(entries, entry, written, wanted)
        return column if made is entries else made
    return column


def _row(column: pl.Expr, dtype: pl.Struct, written: DataType, wanted: DataType) -> pl.Expr:
    present = {f.name: f.dtype for f in dtype.fields}
    sources = {f.id: f for f in written.parts if f.name in present}
    unmoved = list(present) == [f.name for f in wanted.parts]
    made: list[pl.Expr] = []
    for field in wanted.parts:
        source = sources.get(field.id)
        if source is None:
            made.append(pl.lit(None, dtype=to_polars(field.type)).alias(field.name))
            unmoved = False
            continue
        found = column.struct.field(source.name)
        value = reshaped(found, present[source.name], source.type, field.type)
        made.append(value.alias(field.name))
        unmoved = unmoved and value is found and source.name == field.name
    return column if unmoved else pl.when(column.is_not_null()).then(pl.struct(made))


def entry_dtypes(dtype: Dtype) -> tuple[Dtype, Dtype] | None:
    """Of a map, or of a list of its entries."""
    if isinstance(dtype, pl.Map):
        return dtype.key, dtype.value
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct):
        inner = {f.name: f.dtype for f in dtype.inner.fields}
        if inner.keys() == {"key", "value"}:
            return inner["key"], inner["value"]
    return None


def _entries(
    entries: pl.Expr, dtypes: tuple[Dtype, Dtype], written: DataType, wanted: DataType
) -> pl.Expr:
    """Lists of entries, which a cast makes a map."""
    key, value = pl.element().struct.field("key"), pl.element().struct.field("value")
    made_key = reshaped(key, dtypes[0], written.key, wanted.key)
    made_value = reshaped(value, dtypes[1], written.value, wanted.value)
    if made_key is key and made_value is value:
        return entries
    return entries.list.eval(pl.struct(made_key.alias("key"), made_value.alias("value")))
