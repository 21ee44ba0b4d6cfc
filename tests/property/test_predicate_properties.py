"""Bounds never rule out rows that pass: random predicates on random values of every type.

Bounds are those of the values, or looser, or not known; NaN is left out of them as writers do.
"""

from __future__ import annotations

import random

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.frames import column_of
from support.predicates import random_predicate
from support.shapes import NESTED_TYPES, VALUE_TYPES, random_value

from desilt.table.datatypes import DataType, parse_type
from desilt.table.file_stats import ColumnBounds
from desilt.table.predicate.bounds import BoundsFrame, may_match
from desilt.table.predicate.parse import conjuncts, parse
from desilt.table.predicate.points import points
from desilt.table.predicate.tree import All, columns
from desilt.table.row import row_from_frame, sort_key
from desilt.table.scan import as_pushed
from desilt.table.schema import TableSchema, new_schema

TYPES = [t for t in VALUE_TYPES if t not in NESTED_TYPES]
FILES = 4
MANY = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def random_schema(rng: random.Random) -> TableSchema:
    types = {f"c{i}": parse_type(rng.choice(TYPES)) for i in range(rng.randint(1, 3))}
    return new_schema(
        types, primary_key=(), partition_by=(), options={}, comment=None, time_millis=0
    )


def random_frame(rng: random.Random, schema: TableSchema, rows: int) -> pl.DataFrame:
    def values(data_type: DataType) -> list[object]:
        nulls = rng.choice([0.0, 0.2, 1.0])
        few = [random_value(rng, str(data_type)) for _ in range(rng.choice([1, 2, 8]))]
        return [None if rng.random() < nulls else rng.choice(few) for _ in range(rows)]

    return pl.DataFrame([column_of(f.name, str(f.type), values(f.type)) for f in schema.fields])


def bounds_of(
    rng: random.Random, frame: pl.DataFrame, schema: TableSchema
) -> dict[str, ColumnBounds]:
    found: dict[str, ColumnBounds] = {}
    for field in schema.fields:
        series = frame.get_column(field.name).drop_nulls()
        if series.dtype.is_float():
            series = series.drop_nans()
        found[field.name] = _bounds(rng, frame, series, field.type)
        if rng.random() < 0.1:
            del found[field.name]
    return found


def _bounds(
    rng: random.Random, frame: pl.DataFrame, present: pl.Series, data_type: DataType
) -> ColumnBounds:
    name = present.name
    narrow = present.to_frame()
    values = [row_from_frame(narrow, i, [name], [data_type])[0] for i in range(len(present))]
    values.sort(key=lambda v: sort_key([v], [data_type]))
    low, high = (values[0], values[-1]) if values else (None, None)
    nulls = frame.get_column(name).null_count()
    if isinstance(low, str | bytes) and rng.random() < 0.5:
        low = low[: rng.randrange(3)]
    return ColumnBounds(
        None if rng.random() < 0.1 else low,
        None if rng.random() < 0.1 else high,
        None if rng.random() < 0.2 else nulls,
    )


def case(
    rng: random.Random,
) -> tuple[TableSchema, list[pl.DataFrame], list[dict[str, ColumnBounds]], pl.Expr]:
    schema = random_schema(rng)
    frames = [random_frame(rng, schema, rng.choice([1, 2, 10])) for _ in range(FILES)]
    predicate = random_predicate(rng, pl.concat(frames))
    return schema, frames, [bounds_of(rng, f, schema) for f in frames], predicate


@MANY
@given(rng=st.randoms(use_true_random=False))
def test_no_row_that_passes_is_ruled_out(rng: random.Random) -> None:
    schema, frames, bounds, predicate = case(rng)
    handed = as_pushed(predicate, schema)
    trees = [] if handed is None else [parse(e, schema.polars) for e in conjuncts(handed)]
    tree = All(tuple(trees))
    types = {n: schema.column(n).type for n in columns(tree)}
    of_files = BoundsFrame.of(bounds, [f.height for f in frames], types, nan_hides=True)
    passing = [f.filter(predicate) for f in frames]

    each, together = may_match(tree, of_files), may_match(tree, of_files.united())

    for may, rows in zip(each, passing, strict=True):
        assert may or rows.height == 0, (predicate, rows, bounds)
    assert together[0] or not any(rows.height for rows in passing)
    for name in schema.names:
        left = points(trees, name, schema.polars[name])
        kept = pl.concat(passing).get_column(name)
        assert left is None or kept.is_in(left.implode()).all(), (predicate, left, kept)


@MANY
@given(rng=st.randoms(use_true_random=False))
def test_no_row_put_together_of_others_is_ruled_out_by_all_of_their_bounds(
    rng: random.Random,
) -> None:
    """Each column's value from a row of its own, or null: what partial-update makes."""
    schema, frames, bounds, predicate = case(rng)
    handed = as_pushed(predicate, schema)
    trees = [] if handed is None else [parse(e, schema.polars) for e in conjuncts(handed)]
    tree = All(tuple(trees))
    types = {n: schema.column(n).type for n in columns(tree)}
    of_files = BoundsFrame.of(bounds, [f.height for f in frames], types, nan_hides=True)
    rows = pl.concat(frames)
    nothing = rows.clear(1)
    pool = pl.concat([rows, nothing])
    mixed = pl.DataFrame([_shuffled(rng, pool.get_column(n)) for n in pool.columns])

    may = may_match(tree, of_files.united())[0]

    assert may or mixed.filter(predicate).height == 0, (predicate, mixed)


def _shuffled(rng: random.Random, series: pl.Series) -> pl.Series:
    order = rng.sample(range(len(series)), len(series))
    return series.gather(order)


def test_the_predicates_are_no_trivial_cases() -> None:
    """Of the files above, many are ruled out, and many hold rows that pass."""
    rng = random.Random(1)
    ruled = passed = 0
    for _ in range(150):
        schema, frames, bounds, predicate = case(rng)
        handed = as_pushed(predicate, schema)
        if handed is None:
            continue
        tree = All(tuple(parse(e, schema.polars) for e in conjuncts(handed)))
        types = {n: schema.column(n).type for n in columns(tree)}
        of_files = BoundsFrame.of(bounds, [f.height for f in frames], types, nan_hides=True)
        ruled += int((~may_match(tree, of_files)).sum())
        passed += sum(1 for f in frames if f.filter(predicate).height)

    assert ruled > 100
    assert passed > 150
