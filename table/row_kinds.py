"""Row kinds of rows to be written: given beside the rows or in a column, filtered as the table
says.

Spec: maintenance §4.6; reference classes ``RowKindGenerator``, ``RowKindFilter``.
"""

from __future__ import annotations

import polars as pl

from .datatypes import STRINGS
from .errors import BadData, InvalidRequest
from .merge.engine import FirstRow, PartialUpdate, engine_of
from .merge.rule import ADD_KIND, RETRACT_KINDS, UPDATE_BEFORE_KIND
from .schema import KIND, TableSchema

KINDS = {"+I": 0, "-U": 1, "+U": 2, "-D": 3}
_KINDS_ARE = "row kinds are +I, -U, +U, -D"


def with_kinds(rows: pl.DataFrame, schema: TableSchema, kinds: pl.Series | None) -> pl.DataFrame:
    """The rows that are written, with their kinds as `_VALUE_KIND`.

    Args:
        kinds: as text or as numbers 0–3, one a row; inserts by default. Where the table has a
            `rowkind.field`, that column says the kinds.

    Raises:
        InvalidRequest: no kinds, or not one a row.
        BadData: a retract that the table's engine could never merge.
    """
    options = schema.options
    if options.row_kind_field is not None:
        check_kind_column(schema)
        kinds = rows.get_column(options.row_kind_field)
    counted = rows.with_columns(_numbers(kinds, rows.height).alias(KIND))
    if options.ignore_delete:
        counted = counted.filter(~pl.col(KIND).is_in(RETRACT_KINDS))
    elif options.ignore_update_before:
        counted = counted.filter(pl.col(KIND) != UPDATE_BEFORE_KIND)
    _check_engine(counted, schema)
    return counted


def check_kind_column(schema: TableSchema) -> None:
    """
    Raises:
        InvalidRequest: ``rowkind.field`` names no text column.
    """
    name = schema.options.row_kind_field
    if name is None:
        return
    if name not in schema.names or schema.column(name).type.root not in STRINGS:
        raise InvalidRequest("rowkind.field is no text column", option="rowkind.field", value=name)


def _check_engine(rows: pl.DataFrame, schema: TableSchema) -> None:
    """Java takes such rows and fails when it compacts them, which is too late for the writer."""
    engine = engine_of(schema)
    if isinstance(engine, FirstRow):
        takes = engine.ignore_delete
    elif isinstance(engine, PartialUpdate):
        takes = bool(engine.groups or engine.ignore_delete or engine.remove_on_delete)
    else:
        return
    if not takes and rows.get_column(KIND).is_in(RETRACT_KINDS).any():
        raise BadData(
            "the table's merge engine takes no deletes", option="merge-engine",
            value=schema.options.merge_engine,
        )  # fmt: skip


def _numbers(kinds: pl.Series | None, height: int) -> pl.Series:
    if kinds is None:
        return pl.Series([ADD_KIND], dtype=pl.Int8).new_from_index(0, height)
    if len(kinds) != height:
        raise InvalidRequest("one kind a row is needed", rows=height, kinds=len(kinds))
    try:
        if kinds.dtype == pl.String:
            numbers = kinds.replace_strict(KINDS, return_dtype=pl.Int8)
        else:
            numbers = kinds.cast(pl.Int8)
    except pl.exceptions.PolarsError as error:
        raise InvalidRequest(_KINDS_ARE) from error
    if kinds.dtype.is_float() or not numbers.is_between(0, 3).all() or numbers.null_count():
        raise InvalidRequest(_KINDS_ARE)
    return numbers
