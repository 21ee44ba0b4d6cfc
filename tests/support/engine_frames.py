"""Records of the plain model as the frames that merging works on, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from desilt.table.datatypes import parse_type
from desilt.table.schema import KIND, SEQUENCE, TableSchema, new_schema

from .engine_model import Record, Rules
from .frames import column_of, wire_of

__all__ = ["frame_of_records", "records_of_frame", "schema_of_rules"]

KINDS = {"+I": 0, "-U": 1, "+U": 2, "-D": 3}
NAMES = {number: name for name, number in KINDS.items()}


def schema_of_rules(rules: Rules) -> TableSchema:
    """A table's schema with these columns, keys and options, in one bucket."""
    return new_schema(
        {name: parse_type(text) for name, text in rules.columns.items()},
        primary_key=rules.primary_keys,
        partition_by=(),
        options={"bucket": "1", **rules.options},
        comment=None,
        time_millis=0,
    )


def frame_of_records(rules: Rules, records: Sequence[Record]) -> pl.DataFrame:
    """Physical columns of records, in their order; `_LEVEL` behind them."""
    columns = [
        column_of(name, text, [record.values[i] for record in records])
        for i, (name, text) in enumerate(rules.columns.items())
    ]
    by_name = {series.name: series for series in columns}
    keys = [by_name[key].alias(f"_KEY_{key}") for key in rules.primary_keys]
    return pl.DataFrame(
        [
            *keys,
            pl.Series(SEQUENCE, [record.sequence for record in records], pl.Int64),
            pl.Series(KIND, [KINDS[record.kind] for record in records], pl.Int8),
            *columns,
            pl.Series("_LEVEL", [record.level for record in records], pl.Int32),
        ]
    )


def records_of_frame(rules: Rules, frame: pl.DataFrame) -> Mapping[int, Record]:
    """Records by the first key column's value, which is an integer; levels are not compared."""
    values = [wire_of(text, frame.get_column(n)) for n, text in rules.columns.items()]
    rows = zip(*values, strict=True)
    kinds, sequences = frame.get_column(KIND).to_list(), frame.get_column(SEQUENCE).to_list()
    keys = frame.get_column(f"_KEY_{rules.primary_keys[0]}").to_list()
    return {
        key: Record(NAMES[kind], sequence, tuple(row))
        for key, kind, sequence, row in zip(keys, kinds, sequences, rows, strict=True)
    }
