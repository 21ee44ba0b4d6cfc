"""What may not be inside a nested column."""

from __future__ import annotations

from ..errors import UnsupportedFeature
from .record import FLOATS, MAPS, Field, Root, row_fields, walk


def check_inside(column: Field) -> None:
    """Hold names and ids of the ROW fields in a column against the rules of a schema.

    Raises:
        ValueError: two fields of a ROW have one name, or a field has no id.
    """
    for found in walk(column.type):
        names = [f.name for f in found.parts]
        if len(set(names)) != len(names):
            raise ValueError(f"field names repeat in column {column.name}")
    if any(f.id < 0 for f in row_fields(column.type)):
        raise ValueError(f"a field has no id in column {column.name}")


def refuse_inside(column: Field) -> None:
    """Refuse what this release cannot hold.

    Raises:
        UnsupportedFeature: naming the column.
    """
    for found in walk(column.type):
        if found.root is Root.ROW and not found.parts:
            raise UnsupportedFeature("a ROW without fields is not supported", column=column.name)
        # Polars takes 0.0 and -0.0 for one key, Java for two: one of them would be lost.
        if found.root in MAPS and any(t.root in FLOATS for t in walk(found.key)):
            raise UnsupportedFeature(
                "floating point in map keys is not supported",
                column=column.name,
                type=str(column.type),
            )
