"""What is understood of a predicate, and that the rest is called unknown."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import polars as pl
import pytest
from support.builders import keyed_table

from desilt.table.predicate.parse import DEPTH_MAX, conjuncts, keeps_order, parse, row_by_row
from desilt.table.predicate.points import points
from desilt.table.predicate.tree import (
    All,
    AnyOf,
    Compare,
    Constant,
    IsNull,
    Not,
    OneOf,
    Op,
    Operand,
    Tree,
    Unknown,
    columns,
    understood,
)
from desilt.table.scan import as_pushed
from desilt.table.schema import TableSchema

COLUMNS = {
    "i": "INT", "tiny": "TINYINT", "big": "BIGINT", "f": "FLOAT", "d": "DOUBLE", "s": "STRING",
    "raw": "BYTES", "day": "DATE", "ms": "TIMESTAMP(3)", "us": "TIMESTAMP(6)", 
    "dec": "DECIMAL(9, 2)", "flag": "BOOLEAN", "list": "ARRAY<INT>", "k": "INT NOT NULL",
}  # fmt: skip
i, tiny, big, f, d, s, raw, day, ms, us, dec, flag, lists, k = (pl.col(n) for n in COLUMNS)


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> TableSchema:
    return keyed_table(tmp_path_factory.mktemp("t"), columns=COLUMNS).schema


def trees(predicate: pl.Expr, schema: TableSchema) -> list[Tree]:
    """Of the conjuncts, as Polars hands the predicate to a scan."""
    handed = as_pushed(predicate, schema)
    assert handed is not None
    return [parse(part, schema.polars) for part in conjuncts(handed)]


def same(found: Tree, wanted: Tree) -> bool:
    """Literals, which records do not compare, included."""
    if isinstance(found, Compare) and isinstance(wanted, Compare):
        left, right = (pl.select(t.literal).item() for t in (found, wanted))
        return found == wanted and left == right
    if isinstance(found, OneOf) and isinstance(wanted, OneOf):
        return found == wanted and found.values.to_list() == wanted.values.to_list()
    if isinstance(found, All | AnyOf) and isinstance(wanted, All | AnyOf):
        pairs = list(zip(found.parts, wanted.parts, strict=True))
        return type(found) is type(wanted) and all(same(a, b) for a, b in pairs)
    if isinstance(found, Not) and isinstance(wanted, Not):
        return same(found.part, wanted.part)
    return found == wanted


def compare(column: str, op: Op, value: object, *casts: pl.DataType) -> Compare:
    return Compare(Operand(column, casts), op, pl.lit(value))


def among(column: str, *values: object) -> OneOf:
    return OneOf(Operand(column), pl.Series(values))


UNDERSTOOD: dict[str, tuple[pl.Expr, list[Tree]]] = {
    "equal": (i == 1, [compare("i", Op.EQ, 1)]),
    "not equal": (i != 1, [compare("i", Op.NE, 1)]),
    "below": (i < 1, [compare("i", Op.LT, 1)]),
    "at most": (i <= 1, [compare("i", Op.LE, 1)]),
    "above": (i > 1, [compare("i", Op.GT, 1)]),
    "at least": (i >= 1, [compare("i", Op.GE, 1)]),
    "the literal first": (pl.lit(1) < i, [compare("i", Op.GT, 1)]),
    "the literal first, equal": (pl.lit(1) == i, [compare("i", Op.EQ, 1)]),
    "a text": (s == "a", [compare("s", Op.EQ, "a")]),
    "bytes": (raw >= b"\xff", [compare("raw", Op.GE, b"\xff")]),
    "a date": (day == date(2026, 1, 2), [compare("day", Op.EQ, date(2026, 1, 2))]),
    "a time cut to the column's unit": (
        ms == datetime(2026, 1, 2, 0, 0, 0, 1234),  # noqa: DTZ001  # wall clock
        [compare("ms", Op.EQ, datetime(2026, 1, 2, 0, 0, 0, 1000))],  # noqa: DTZ001
    ),
    "a decimal": (dec < Decimal("1.5"), [compare("dec", Op.LT, Decimal("1.5"))]),
    "a decimal of more digits": (dec < Decimal("1.234"), [compare("dec", Op.LT, Decimal("1.234"))]),
    "a boolean": (flag, [compare("flag", Op.EQ, True)]),
    "not a boolean": (~flag, [Not(compare("flag", Op.EQ, True))]),
    "a fraction and a whole number": (i > 1.5, [compare("i", Op.GT, 1.5, pl.Float64())]),
    "a decimal and a fraction": (dec > 1.5, [compare("dec", Op.GT, 1.5, pl.Float64())]),
    "a widened column": (i.cast(pl.Int64) == 1, [compare("i", Op.EQ, 1, pl.Int64())]),
    "two casts": (
        i.cast(pl.Int64).cast(pl.Float64) == 1.0,
        [compare("i", Op.EQ, 1.0, pl.Int64(), pl.Float64())],
    ),
    "and": ((i > 1) & (s == "a"), [compare("i", Op.GT, 1), compare("s", Op.EQ, "a")]),
    "or": ((i > 1) | (s == "a"), [AnyOf((compare("i", Op.GT, 1), compare("s", Op.EQ, "a")))]),
    "not or": (
        ~((i > 1) | (s == "a")), [compare("i", Op.LE, 1), compare("s", Op.NE, "a")],
    ),
    "between": (
        i.is_between(1, 2), [All((compare("i", Op.GE, 1), compare("i", Op.LE, 2)))],
    ),
    "between, open": (
        i.is_between(1, 2, closed="none"), [All((compare("i", Op.GT, 1), compare("i", Op.LT, 2)))],
    ),
    "between, half open": (
        i.is_between(1, 2, closed="left"), [All((compare("i", Op.GE, 1), compare("i", Op.LT, 2)))],
    ),
    "between, open below": (
        i.is_between(1, 2, closed="right"), [All((compare("i", Op.GT, 1), compare("i", Op.LE, 2)))],
    ),
    "among": (i.is_in([3, 1, 3]), [among("i", 1, 3)]),
    "among texts": (s.is_in(["b", "a"]), [among("s", "a", "b")]),
    "among, with a null that equals nothing": (i.is_in([1, None]), [among("i", 1)]),
    "among, with a null": (
        i.is_in([1, None], nulls_equal=True), [AnyOf((among("i", 1), IsNull("i")))],
    ),
    "among, nulls apart": (
        i.is_in([1], nulls_equal=True), [All((Not(IsNull("i")), among("i", 1)))],
    ),
    "among a series": (
        i.is_in(pl.Series([2, 1], dtype=pl.Int32).implode()), [among("i", 1, 2)],
    ),
    "null": (i.is_null(), [IsNull("i")]),
    "not null": (i.is_not_null(), [Not(IsNull("i"))]),
    "equal, null for no": (
        i.eq_missing(1), [All((Not(IsNull("i")), compare("i", Op.EQ, 1)))],
    ),
    "not equal, null for yes": (
        i.ne_missing(1), [Not(All((Not(IsNull("i")), compare("i", Op.EQ, 1))))],
    ),
    "true": (pl.lit(value=True), [Constant(True)]),
    "false": (pl.lit(value=False), [Constant(False)]),
}  # fmt: skip

UNKNOWN: dict[str, pl.Expr] = {
    "two columns": i == big,
    "arithmetic": i % 2 == 1,
    "a function": s.str.len_chars() > 2,
    "a cast that may fail": s.cast(pl.Int64) == 3,
    "a cast that may overflow": i.cast(pl.Int8, strict=False) == 3,
    "a cast that turns values around": d.cast(pl.Int64, strict=False) == 3,
    "a cast to text": i.cast(pl.String) == "3",
    "a day against a time": day > datetime(2026, 1, 1),  # noqa: DTZ001
    "a condition": pl.when(i > 1).then(flag).otherwise(other := pl.lit(value=False)),
    "a null filled": (i > 1).fill_null(other),
    "exclusive or": (i > 1).xor(big > 1),
    "nan": d.is_nan(),
    "a list": lists.list.len() > 1,
    "a null of an expression": (i + 1).is_null(),
    "a value that no such column holds": tiny > 300,
    "a column among the values of another": i.is_in(lists),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_is_understood(schema: TableSchema, name: str) -> None:
    predicate, wanted = UNDERSTOOD[name]

    found = trees(predicate, schema)

    assert all(same(a, b) for a, b in zip(found, wanted, strict=True)), found
    assert all(understood(tree) for tree in found)


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_understood_is_called_unknown(schema: TableSchema, name: str) -> None:
    assert trees(UNKNOWN[name], schema) == [Unknown()]


def test_an_unknown_part_leaves_the_others(schema: TableSchema) -> None:
    known, unknown = i > 1, big % 2 == 1

    (either,) = trees(known | unknown, schema)
    (neither,) = trees(~(known & unknown & (s == "a")), schema)

    assert not understood(either)
    assert not understood(neither)
    assert sorted(understood(t) for t in trees(known & unknown, schema)) == [False, True]
    assert columns(either) == {"i"}


def test_not_being_among_values_rules_nothing_out(schema: TableSchema) -> None:
    (tree,) = trees(~i.is_in([1, 2]), schema)

    assert not understood(tree)


def test_what_does_not_fit_the_schema_is_unknown(schema: TableSchema) -> None:
    assert parse(pl.col("nope") == 1, schema.polars) == Unknown()
    assert parse(i.cast(pl.Struct({})) == 1, schema.polars) == Unknown()


def test_what_lies_too_deep_is_unknown(schema: TableSchema) -> None:
    deep = flag
    for _ in range(DEPTH_MAX):
        deep = ~deep

    assert understood(parse(deep, schema.polars))
    assert not understood(parse(~deep, schema.polars))


def test_long_chains_are_one_level(schema: TableSchema) -> None:
    anyway = i == 0
    every = i != 0
    for number in range(1, 150):
        anyway |= i == number
        every &= i != number

    (either,) = trees(anyway, schema)

    assert isinstance(either, AnyOf)
    assert len(either.parts) == 150
    assert len(trees(every, schema)) == 150


# --- casts ----------------------------------------------------------------------------------------

KEPT: list[tuple[pl.DataType, pl.DataType]] = [
    (pl.Int8(), pl.Int16()), (pl.Int32(), pl.Int128()), (pl.Int64(), pl.Float64()),
    (pl.Int64(), pl.Float32()), (pl.Float32(), pl.Float64()), (pl.Decimal(9, 2), pl.Float64()),
]  # fmt: skip
NOT_KEPT: list[tuple[pl.DataType, pl.DataType]] = [
    (pl.Int16(), pl.Int8()), (pl.Int32(), pl.UInt64()), (pl.Float64(), pl.Float32()),
    (pl.Float64(), pl.Int64()), (pl.Int32(), pl.String()), (pl.String(), pl.Int32()),
    (pl.Datetime("ms"), pl.Datetime("ns")), (pl.Date(), pl.Datetime("us")),
    (pl.Boolean(), pl.Int8()), (pl.Int32(), pl.Int32()),
]  # fmt: skip


@pytest.mark.parametrize("casts", KEPT, ids=str)
def test_casts_that_keep_order(casts: tuple[pl.DataType, pl.DataType]) -> None:
    assert keeps_order(*casts)


@pytest.mark.parametrize("casts", NOT_KEPT, ids=str)
def test_casts_that_may_not(casts: tuple[pl.DataType, pl.DataType]) -> None:
    assert not keeps_order(*casts)


# --- rows by themselves ---------------------------------------------------------------------------

ALONE: dict[str, pl.Expr] = {
    "a comparison": i > 1,
    "a list": i.is_in([1, 2]),
    "a series": i.is_in(pl.Series([1, 2]).implode()),
    "a condition": pl.when(flag).then(i > 1).otherwise(big > 1),
    "arithmetic": (i + big) % 2 == 1,
    "a text": s.str.starts_with("a") | s.is_null(),
}
TOGETHER: dict[str, pl.Expr] = {
    "a maximum": i == i.max(),
    "a neighbour": i > i.shift(1),
    "a sum so far": (i.cum_sum() > 3) & (big > 1),
    "a window": i.sum().over("s") > 3,
    "a rank": ~(i.rank() > 1),
    "a column as a list": i.is_in(big.implode()),
    "a column among another": i.is_in(big),
    "a series of many": i == pl.Series([1, 2]),
    "a Python function": i.map_batches(bool),
    "a count": pl.len() > 3,
}


@pytest.mark.parametrize("name", ALONE)
def test_rows_that_can_be_judged_alone(name: str) -> None:
    assert row_by_row(ALONE[name])


@pytest.mark.parametrize("name", TOGETHER)
def test_rows_that_cannot(name: str) -> None:
    assert not row_by_row(TOGETHER[name])


def test_values_that_are_given_as_a_series_are_no_other_rows() -> None:
    values = pl.Series([1, 2], dtype=pl.Int32)

    assert row_by_row(i.is_in(values))
    assert row_by_row((i.cast(pl.Int64) + 1).is_in(values.cast(pl.Int64)) | s.is_in(["a"]))
    assert not row_by_row(i.max().is_in(values))
    assert not row_by_row(i == values)


def test_what_polars_would_rewrite_is_not_taken_for_another_form(schema: TableSchema) -> None:
    """Not distinct from null is null; as it stands, no value of it is known."""
    null = pl.lit(None, dtype=pl.Int32)

    assert parse(i.eq_missing(null), schema.polars) == Unknown()
    assert parse(i.ne_missing(null), schema.polars) == Unknown()
    assert trees(i.eq_missing(null), schema) == [IsNull("i")]
    assert trees(i.ne_missing(null), schema) == [Not(IsNull("i"))]
    assert points([parse(i.eq_missing(null), schema.polars)], "i", pl.Int32()) is None


# --- values named one by one ----------------------------------------------------------------------

POINTS: dict[str, tuple[pl.Expr, str, list[object] | None]] = {
    "equal": (i == 1, "i", [1]),
    "among": (i.is_in([2, 1, None]), "i", [1, 2]),
    "or": ((i == 1) | i.is_in([2, 3]), "i", [1, 2, 3]),
    "and": ((i == 1) & (s == "a"), "s", ["a"]),
    "the shorter of two": (i.is_in([1, 2, 3]) & (i == 2), "i", [2]),
    "null for no": (i.eq_missing(4), "i", [4]),
    "another column": (i == 1, "s", None),
    "or another column": ((i == 1) | (s == "a"), "i", None),
    "a range": (i.is_between(1, 2), "i", None),
    "not equal": (i != 1, "i", None),
    "not not equal": (~(i != 1), "i", [1]),
    "null": (i.is_null(), "i", None),
    "a cast column": (i.cast(pl.Int64) == 1, "i", None),
    "a fraction": (i == 1.0, "i", None),
    "a decimal of more digits": (dec == Decimal("1.200"), "dec", [Decimal("1.20")]),
    "a decimal that the column cannot hold": (dec == Decimal("1.234"), "dec", None),
    "a whole number for a decimal": (dec == 3, "dec", [Decimal("3.00")]),
    "nothing": (i.is_in([]) & (s == "a"), "s", ["a"]),
}


@pytest.mark.parametrize("name", POINTS)
def test_values_that_a_predicate_leaves(schema: TableSchema, name: str) -> None:
    predicate, column, wanted = POINTS[name]

    found = points(trees(predicate, schema), column, schema.polars[column])

    assert (None if found is None else sorted(found.drop_nulls().to_list())) == wanted


def test_columns_of_all_sorts_of_parts_are_asked() -> None:
    either = AnyOf((compare("c", Op.LT, 1), Unknown()))

    assert columns(All((IsNull("a"), Not(among("b", 1)), either))) == {"a", "b", "c"}
