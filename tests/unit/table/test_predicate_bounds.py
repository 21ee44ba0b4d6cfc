"""Whether a predicate may be true within bounds: exact answers for exact bounds."""

from __future__ import annotations

import math
from datetime import datetime
from decimal import Decimal

import polars as pl
import pytest

from desilt.table.datatypes import parse_type
from desilt.table.file_stats import ColumnBounds
from desilt.table.predicate.bounds import BoundsFrame, may_match
from desilt.table.predicate.parse import parse
from desilt.table.predicate.tree import All, Constant, Tree, Unknown
from desilt.table.row import Instant

TYPES = {
    "i": parse_type("INT"), "d": parse_type("DOUBLE"), "s": parse_type("STRING"),
    "b": parse_type("BOOLEAN"), "dec": parse_type("DECIMAL(9, 2)"), "t": parse_type("TIMESTAMP(3)"),
    "n": parse_type("TIMESTAMP(9)"),
}  # fmt: skip
SCHEMA = {
    "i": pl.Int32(), "d": pl.Float64(), "s": pl.String(), "b": pl.Boolean(),
    "dec": pl.Decimal(9, 2), "t": pl.Datetime("ms"), "n": pl.Datetime("ns"),
}  # fmt: skip
ROWS = 10
i, d, s, b, dec, t, n = (pl.col(name) for name in SCHEMA)


def frame(*bounds: dict[str, ColumnBounds], nan_hides: bool = True) -> BoundsFrame:
    return BoundsFrame.of(bounds, [ROWS] * len(bounds), TYPES, nan_hides=nan_hides)


def may(predicate: pl.Expr, nan_hides: bool = True, **bounds: ColumnBounds) -> bool:
    made = frame(bounds, nan_hides=nan_hides)
    return bool(may_match(parse(predicate, SCHEMA), made)[0])


def among(column: pl.Expr, *values: object, nulls_equal: bool = False) -> pl.Expr:
    """`is_in` as Polars hands it to a scan: values of the column's type."""
    dtype = SCHEMA[column.meta.output_name()]
    return column.is_in(pl.Series(values, dtype=dtype).implode(), nulls_equal=nulls_equal)


def within(low: object, high: object, nulls: int | None = 0) -> ColumnBounds:
    return ColumnBounds(low, high, nulls)


NOTHING = ColumnBounds()
ALL_NULL = ColumnBounds(None, None, ROWS)

INTEGERS: dict[str, tuple[pl.Expr, bool]] = {
    "below the lowest": (i < 5, False),
    "below all but the lowest": (i < 6, True),
    "at most the lowest": (i <= 5, True),
    "at most less": (i <= 4, False),
    "above the highest": (i > 9, False),
    "above all but the highest": (i > 8, True),
    "at least the highest": (i >= 9, True),
    "at least more": (i >= 10, False),
    "equal to one between": (i == 7, True),
    "equal to the lowest": (i == 5, True),
    "equal to one below": (i == 4, False),
    "equal to one above": (i == 10, False),
    "not equal": (i != 7, True),
    "not not equal": (~(i != 4), False),
    "not below": (~(i < 10), False),
    "not above": (~(i > 4), False),
    "not equal to one outside": (~(i == 4), True),
    "between, around": (i.is_between(0, 20), True),
    "between, above": (i.is_between(10, 20), False),
    "between, touching": (i.is_between(9, 20), True),
    "between, open": (i.is_between(9, 20, closed="right"), False),
    "between, the wrong way round": (i.is_between(8, 6), True),
    "not between": (~i.is_between(5, 9), False),
    "not between, a little less": (~i.is_between(5, 8), True),
    "among": (among(i, 1, 7, 30), True),
    "among others": (among(i, 1, 4, 10, 30), False),
    "among the ends": (among(i, 9) & among(i, 5), True),
    "among nothing": (among(i), False),
    "not among": (~among(i, 5, 6, 7, 8, 9), True),
    "null": (i.is_null(), False),
    "not null": (i.is_not_null(), True),
    "null or above": (i.is_null() | (i > 9), False),
    "equal, null for no": (i.eq_missing(4), False),
    "not equal, null for yes": (i.ne_missing(4), True),
    "above a fraction": (i.cast(pl.Float64) > 9.5, False),
    "above a smaller fraction": (i.cast(pl.Float64) > 8.5, True),
    "one and another": ((i > 8) & (i < 6), True),
    "one and never": ((i > 8) & (i < 5), False),
    "one or never": ((i > 9) | (i < 6), True),
    "never or never": ((i > 9) | (i < 5), False),
    "unknown": (i % 2 == 0, True),
    "unknown and never": ((i % 2 == 0) & (i > 9), False),
    "unknown or never": ((i % 2 == 0) | (i > 9), True),
    "not (unknown or always)": (~((i % 2 == 0) | (i < 10)), False),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_a_predicate_within_five_and_nine(name: str) -> None:
    predicate, wanted = INTEGERS[name]

    assert may(predicate, i=within(5, 9)) is wanted


def test_one_value_alone_decides_about_inequality() -> None:
    assert not may(i != 5, i=within(5, 5))
    assert may(i != 6, i=within(5, 5))
    assert not may(~i.eq_missing(5), i=within(5, 5))


def test_nulls_count() -> None:
    some = within(5, 9, 1)

    assert may(i.is_null(), i=some)
    assert may(~i.is_not_null(), i=some)
    assert may(i.ne_missing(5), i=within(5, 5, 1))
    assert not may(~i.is_null(), i=ALL_NULL)
    assert may(i.is_null(), i=ALL_NULL)
    for predicate in (i == 5, i != 5, ~(i == 5), among(i, 5), ~among(i, 5), i.eq_missing(5)):
        assert not may(predicate, i=ALL_NULL)
    assert may(i.ne_missing(5), i=ALL_NULL)
    assert may(among(i, 5, None, nulls_equal=True), i=some)
    assert not may(among(i, 4, None, nulls_equal=True), i=within(5, 9))
    assert may(among(i, 4, None, nulls_equal=True), i=some)
    assert not may(among(i, 4, nulls_equal=True), i=some)


@pytest.mark.parametrize(
    "predicate", [i > 9, i < 5, i == 4, i != 4, among(i, 4), i.is_null(), ~i.is_null(), ~(i > 4)]
)
def test_what_is_not_known_rules_nothing_out(predicate: pl.Expr) -> None:
    assert may(predicate, i=NOTHING)
    assert may(predicate)


def test_one_bound_alone_rules_out_what_it_can() -> None:
    low, high = within(5, None), within(None, 9)

    assert not may(i < 5, i=low)
    assert may(i > 100, i=low)
    assert not may(i == 4, i=low)
    assert not may(i > 9, i=high)
    assert may(i < -100, i=high)
    assert not may(among(i, 10), i=high)
    assert may(among(i, 10), i=low)
    assert may(among(i, 4), i=high)
    assert not may(among(i, 4), i=low)


def test_constants() -> None:
    wanted: dict[Tree, bool] = {
        Constant(True): True,
        Constant(False): False,
        Constant(None): False,
        Unknown(): True,
    }
    for tree, yes in wanted.items():
        assert may_match(tree, frame({}, {})).tolist() == [yes, yes]
    assert may_match(All(()), frame({})).tolist() == [True]
    assert may_match(Constant(True), frame()).tolist() == []


def test_files_are_answered_one_by_one() -> None:
    files = [{"i": within(low, low + 4)} for low in (0, 5, 10, 15)]

    assert may_match(parse(i.is_between(8, 11), SCHEMA), frame(*files)).tolist() == [
        False, True, True, False,
    ]  # fmt: skip
    assert may_match(parse(among(i, 3, 17), SCHEMA), frame(*files)).tolist() == [
        True, False, False, True,
    ]  # fmt: skip


# --- types ----------------------------------------------------------------------------------------


def test_texts_by_their_bytes() -> None:
    bounds = within("b", "c")

    assert not may(s < "b", s=bounds)
    assert not may(s > "c", s=bounds)
    assert may(s == "bzzzz", s=bounds)
    assert not may(s == "ca", s=bounds)
    assert may(s == "\uffae", s=within("a", "😀"))  # UTF-16 would have it the other way round


def test_booleans() -> None:
    assert not may(b, b=within(False, False))
    assert may(~b, b=within(False, False))
    assert not may(~b, b=within(True, True))
    assert may(b, b=within(False, True))


def test_decimals_of_another_scale() -> None:
    bounds = within(Decimal("1.20"), Decimal("1.30"))

    assert not may(dec > Decimal("1.3"), dec=bounds)
    assert may(dec > Decimal("1.299"), dec=bounds)
    assert not may(dec > Decimal("1.3001"), dec=bounds)
    assert not may(dec.cast(pl.Float64) > 1.31, dec=bounds)


def test_a_highest_instant_is_not_cut_below_itself() -> None:
    """1.5 ms may be bound to a column of milliseconds whose values were cut, or rounded up."""
    bounds = within(Instant(1, 500_000), Instant(1, 500_000))

    assert may(t == datetime(1970, 1, 1, 0, 0, 0, 1000), t=bounds)  # noqa: DTZ001
    assert may(t == datetime(1970, 1, 1, 0, 0, 0, 2000), t=bounds)  # noqa: DTZ001
    assert not may(t > datetime(1970, 1, 1, 0, 0, 0, 2000), t=bounds)  # noqa: DTZ001
    assert not may(t < datetime(1970, 1, 1, 0, 0, 0, 1000), t=bounds)  # noqa: DTZ001


def test_a_bound_that_the_column_cannot_hold_is_not_known() -> None:
    """Nanoseconds end in 2262."""
    far = Instant(2**60)
    start = pl.lit(0, dtype=pl.Int64).cast(pl.Datetime("ns"))
    handed = parse(n < start, SCHEMA)
    bounds = frame({"n": within(Instant(1), far)}, {"n": within(far, far)})

    assert may_match(handed, bounds).tolist() == [True, True]  # a cast literal is not understood
    known = parse(n < datetime(1970, 1, 1), SCHEMA)  # noqa: DTZ001
    assert may_match(known, bounds).tolist() == [False, True]


# --- NaN ------------------------------------------------------------------------------------------

NAN = float("nan")


def test_nan_may_hide_above_every_bound() -> None:
    bounds = within(1.0, 2.0)

    assert may(d > 3, d=bounds)
    assert may(d >= 3, d=bounds)
    assert may(d != 1, d=within(1.0, 1.0))
    assert may(d == NAN, d=bounds)
    assert may(among(d, 7.0, NAN), d=bounds)
    assert may(d >= NAN, d=bounds)
    assert may(~(d <= 2), d=bounds)


def test_nan_does_not_pass_for_a_number() -> None:
    bounds = within(1.0, 2.0)

    assert not may(d < 1, d=bounds)
    assert not may(d == 3, d=bounds)
    assert not may(among(d, 3.0, 4.0), d=bounds)
    assert not may(d.is_between(3, 4), d=bounds)
    assert not may((d > 3) & (d < 4), d=bounds)
    assert not may(~(d >= 1), d=bounds)
    assert may(d.is_between(3, NAN), d=bounds)


def test_nan_that_cannot_hide_is_in_the_bounds() -> None:
    assert not may(d > 3, nan_hides=False, d=within(1.0, 2.0))
    assert may(d > 3, nan_hides=False, d=within(1.0, NAN))
    assert may(d == NAN, nan_hides=False, d=within(1.0, NAN))
    assert not may(d < 3, nan_hides=False, d=within(NAN, NAN))


def test_a_bound_that_is_nan_itself_bounds_nothing() -> None:
    """As pypaimon wrote them: NaN first."""
    assert may(d < 1, d=within(NAN, 2.0))
    assert may(d == 1, d=within(NAN, NAN))


def test_there_is_one_zero() -> None:
    assert may(d == 0.0, d=within(-0.0, -0.0))
    assert may(d == -0.0, d=within(0.0, 5.0))
    assert may(among(d, 0.0), d=within(-0.0, -0.0))
    assert not may(d < 0.0, d=within(-0.0, 5.0))


def test_a_column_of_nulls_and_nan_has_no_bounds() -> None:
    assert may(d > 1, d=ColumnBounds(None, None, ROWS - 1))
    assert not may(d > 1, d=ColumnBounds(None, None, ROWS))


# --- bounds of several files together -------------------------------------------------------------


def united(predicate: pl.Expr, *files: dict[str, ColumnBounds]) -> bool:
    return bool(may_match(parse(predicate, SCHEMA), frame(*files).united())[0])


def test_files_together_have_the_widest_bounds() -> None:
    files = ({"i": within(1, 2)}, {"i": within(8, 9)})

    assert united(i == 5, *files)
    assert not united(i == 0, *files)
    assert not united(i > 9, *files)
    assert united(i.is_null(), *files)  # a value that was taken back
    assert not united((i > 9) & i.is_not_null(), *files)


def test_a_file_without_values_takes_no_bound_away() -> None:
    assert not united(i > 9, {"i": within(1, 9)}, {"i": ALL_NULL})
    assert united(i > 9, {"i": within(1, 9)}, {"i": NOTHING})
    assert united(i > 9, {"i": within(1, 9)}, {})
    assert united(i.is_null(), {"i": ALL_NULL})


def test_floats_together_still_hide_nan() -> None:
    files = ({"d": within(1.0, 2.0)}, {"d": within(3.0, 4.0)})

    assert united(d > 5, *files)
    assert not united(d.is_between(5, 6), *files)
    assert not united(d < 1, *files)


def test_errors_of_a_predicate_are_left_to_whoever_filters() -> None:
    bad = parse(pl.col("i") == pl.lit("text"), SCHEMA)

    assert may_match(bad, frame({"i": within(1, 2)})).tolist() == [True]
    assert math.isnan(NAN)
