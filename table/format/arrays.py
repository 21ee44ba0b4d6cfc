"""Arrow arrays as pyarrow's encoder wants them, made of those that Polars hands out.

Casts do nearly all of it. One thing they cannot: a NOT NULL field of a ROW that is null itself is
null in Polars' arrays, and both encoders refuse that. Such a field is written without its validity;
what then stands in its place is never read, as the ROW above it is null.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ..datatypes import DataType, Field, Root, arrow_field, walk
from ..errors import BadData


def hides_nulls(data_type: DataType) -> bool:
    """Whether a NOT NULL field inside may be null because its ROW is."""
    return any(
        t.root is Root.ROW and t.nullable and any(not f.type.nullable for f in t.parts)
        for t in walk(data_type)
    )


def encodable(column: pa.ChunkedArray, field: Field) -> pa.ChunkedArray:
    """The column as the field's Arrow type.

    Raises:
        BadData: a null where none may be, which no null ROW hides.
    """
    wanted = arrow_field(field).type
    # Unsafe for what is finer than a millisecond in TIME columns alone: it is cut off.
    if not hides_nulls(field.type):
        return column.cast(wanted, safe=False)
    cast = column.cast(_all_nullable(wanted), safe=False)
    return pa.chunked_array([_strict(c, wanted, None, field.name) for c in cast.chunks], wanted)


def _all_nullable(arrow: pa.DataType) -> pa.DataType:
    """The type with fields of ROWs nullable: a cast refuses hidden nulls, too."""
    if pa.types.is_struct(arrow):
        fields = [arrow.field(i) for i in range(arrow.num_fields)]
        return pa.struct([f.with_type(_all_nullable(f.type)).with_nullable(True) for f in fields])
    if pa.types.is_map(arrow):
        key, item = arrow.key_field, arrow.item_field
        return pa.map_(
            key.with_type(_all_nullable(key.type)), item.with_type(_all_nullable(item.type))
        )
    if pa.types.is_large_list(arrow):
        return pa.large_list(arrow.value_field.with_type(_all_nullable(arrow.value_type)))
    return arrow


def _strict(array: pa.Array, wanted: pa.DataType, shown: pa.Array | None, place: str) -> pa.Array:
    """
    Args:
        shown: which items are in no null ROW; None for all.
    """
    if array.type == wanted:
        return array
    if not pa.types.is_struct(wanted):
        return _strict_items(array, wanted, place)
    valid = array.is_valid()
    shown = valid if shown is None else pc.and_(valid, shown)
    children: list[pa.Array] = []
    for index in range(wanted.num_fields):
        field = wanted.field(index)
        child = _strict(array.field(index), field.type, shown, f"{place}.{field.name}")
        if not field.nullable and child.null_count:
            if pc.any(pc.and_(child.is_null(), shown)).as_py():
                raise BadData("null in a NOT NULL column", column=f"{place}.{field.name}")
            child = _without_validity(child)
        children.append(child)
    fields = [wanted.field(i) for i in range(wanted.num_fields)]
    return pa.StructArray.from_arrays(children, fields=fields, mask=array.is_null())


def _strict_items(array: pa.Array, wanted: pa.DataType, place: str) -> pa.Array:
    """Of a list or map."""
    starts, items = _items(array)
    starts = pc.if_else(_with_end(array.is_valid()), starts, pa.scalar(None, pa.int64()))
    if pa.types.is_map(wanted):
        key = _strict(items.field(0), wanted.key_type, None, f"{place}.key")
        value = _strict(items.field(1), wanted.item_type, None, f"{place}.value")
        return pa.MapArray.from_arrays(starts.cast(pa.int32()), key, value, type=wanted)
    element = _strict(items, wanted.value_type, None, f"{place}.element")
    return pa.LargeListArray.from_arrays(starts, element, type=wanted)


def _items(array: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Where each list begins among all items, with the end; and the items, none of null lists."""
    bounds = array.offsets.cast(pa.int64())
    valid = array.is_valid()
    sizes = pc.if_else(valid, pc.subtract(bounds.slice(1), bounds.slice(0, len(array))), 0)
    starts = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(sizes)])
    if pa.types.is_map(array.type):  # which has no `flatten`
        entries = pa.StructArray.from_arrays([array.keys, array.items], ["key", "value"])
        array = pa.LargeListArray.from_arrays(pc.add(bounds, 0), entries, mask=pc.invert(valid))
    return starts, array.flatten()


def _with_end(valid: pa.Array) -> pa.Array:
    return pa.concat_arrays([valid, pa.array([True])])


def _without_validity(array: pa.Array) -> pa.Array:
    """The same items, with something in place of the nulls."""
    arrow = array.type
    if pa.types.is_struct(arrow):
        fields = [arrow.field(i) for i in range(arrow.num_fields)]
        children = [array.field(i) for i in range(arrow.num_fields)]
        return pa.StructArray.from_arrays(children, fields=fields)
    if pa.types.is_map(arrow):
        starts, items = _items(array)
        starts = starts.cast(pa.int32())
        return pa.MapArray.from_arrays(starts, items.field(0), items.field(1), type=arrow)
    if pa.types.is_large_list(arrow):
        return pa.LargeListArray.from_arrays(*_items(array), type=arrow)
    buffers = [None, *array.buffers()[1:]]
    return pa.Array.from_buffers(arrow, len(array), buffers, 0, array.offset)
