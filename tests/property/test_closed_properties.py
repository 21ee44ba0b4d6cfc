"""Closed forms that compute, held against the fold for every type that they are used for.

Random tables of a merge engine rarely draw them, so here each is asked for by name.
"""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest
from support.engine_frames import schema_of_rules
from support.engine_model import Rules

from desilt.table.datatypes import DataType, Root, parse_type, to_polars
from desilt.table.merge.closed import computed, computes
from desilt.table.merge.engine import Aggregation, engine_of
from desilt.table.merge.feed import Feed, feed_of_rows
from desilt.table.merge.functions.base import Form
from desilt.table.merge.reduce import fold_all, reduce_feed
from desilt.table.merge.rule import MergeRule
from desilt.table.schema import KEY_PREFIX, KIND, SEQUENCE

NUMBERS = ("TINYINT", "SMALLINT", "INT", "BIGINT", "DECIMAL(5, 2)", "DECIMAL(18, 4)")
TIMES = (
    "DATE",
    "TIMESTAMP(3)",
    "TIMESTAMP(6)",
    "TIMESTAMP(9)",
    "TIMESTAMP(6) WITH LOCAL TIME ZONE",
)
CASES = [
    *[(Form.SUM, text) for text in (*NUMBERS, "FLOAT", "DOUBLE")],
    *[(form, text) for form in (Form.MAX, Form.MIN) for text in (*NUMBERS, *TIMES)],
]
SPECIAL = (0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e308, 0.1, 0.2, 0.3, -1e-3)


def values(rng: random.Random, data_type: DataType, count: int) -> pl.Series:
    """Small ones, so that sums stay within their type; a third are null."""
    if data_type.root in (Root.FLOAT, Root.DOUBLE):
        given = [rng.choice([None, rng.uniform(-9, 9), rng.choice(SPECIAL)]) for _ in range(count)]
        return pl.Series(given, dtype=pl.Float64).cast(to_polars(data_type))
    whole = [rng.choice([None, rng.randrange(-3, 4), rng.randrange(-3, 4)]) for _ in range(count)]
    series = pl.Series(whole, dtype=pl.Int32)
    if data_type.root is Root.DECIMAL:
        return series.cast(pl.Decimal(10, 2)).cast(to_polars(data_type))
    if data_type.root is Root.DATE:
        return series.cast(pl.Date)
    return series.cast(pl.Int64).cast(to_polars(data_type))


def feed_of(rng: random.Random, form: Form, text: str, longest: int) -> tuple[Feed, Aggregation]:
    """Keys with one to ``longest`` records each, laid in no order."""
    options = {"merge-engine": "aggregation", "fields.v.aggregate-function": form.name.lower()}
    schema = schema_of_rules(Rules({"k": "INT NOT NULL", "v": text}, ("k",), options))
    keys = [key for key in range(40) for _ in range(rng.randint(1, longest))]
    rng.shuffle(keys)
    rows = pl.DataFrame(
        {
            KEY_PREFIX + "k": pl.Series(keys, dtype=pl.Int32),
            SEQUENCE: pl.Series(range(len(keys)), dtype=pl.Int64),
            KIND: pl.Series([0] * len(keys), dtype=pl.Int8),
            "k": pl.Series(keys, dtype=pl.Int32),
            "v": values(rng, parse_type(text), len(keys)),
        }
    )
    engine = engine_of(schema)
    assert isinstance(engine, Aggregation)
    return feed_of_rows(rows, MergeRule.of(schema)), engine


@pytest.mark.parametrize(("form", "text"), CASES, ids=lambda v: str(getattr(v, "name", v)))
def test_what_is_computed_is_what_is_folded(form: Form, text: str) -> None:
    data_type = parse_type(text)
    assert computes(form, data_type)
    for seed in range(6):
        print(f"seed {seed}")
        feed, engine = feed_of(random.Random(seed), form, text, longest=seed + 2)

        made = computed(feed, form, "v", data_type)

        assert made is not None
        folded = fold_all(feed, engine).get_column("v")
        assert made.dtype == folded.dtype
        assert same(made, folded)


@pytest.mark.parametrize("text", ["DOUBLE", "DECIMAL(5, 2)", "TINYINT"])
def test_where_only_the_fold_can_tell_it_is_asked(text: str) -> None:
    """Keys with very many floats, and sums near the end of their type."""
    data_type = parse_type(text)
    longest = 200 if text == "DOUBLE" else 3
    feed, engine = feed_of(random.Random(1), Form.SUM, text, longest)
    if text == "DECIMAL(5, 2)":
        large = pl.lit(999).cast(pl.Decimal(5, 2)).alias("v")
        feed = Feed(feed.rows.with_columns(large), feed.order, feed.starts, feed.ends)
    if text == "TINYINT":
        one = pl.Series("v", np.where(np.arange(feed.rows.height) % 2, 100, -100), dtype=pl.Int8)
        feed = Feed(feed.rows.with_columns(one), feed.order, feed.starts, feed.ends)
        pairs = feed.of_keys(np.flatnonzero(feed.counts == 2))
        assert computed(pairs, Form.SUM, "v", data_type) is None
        return

    assert computed(feed, Form.SUM, "v", data_type) is None
    none_single = np.zeros(len(feed.starts), dtype=np.bool_)
    schema = schema_of_rules(
        Rules({"k": "INT NOT NULL", "v": text}, ("k",),
              {"merge-engine": "aggregation", "fields.v.aggregate-function": "sum"})
    )  # fmt: skip
    fast = reduce_feed(feed, MergeRule.of(schema), engine, single=none_single)
    assert same(fast.rows.get_column("v"), fold_all(feed, engine).get_column("v"))


def same(left: pl.Series, right: pl.Series) -> bool:
    """To the bit: −0.0 is not 0.0, and NaN is NaN."""
    if left.dtype.is_float():
        bits = np.int32 if left.dtype == pl.Float32 else np.int64
        nulls = left.is_null().equals(right.is_null())
        one, two = (s.fill_null(0).to_numpy() for s in (left, right))
        nan = np.isnan(one) & np.isnan(two)
        return nulls and bool((nan | (one.view(bits) == two.view(bits))).all())
    return left.equals(right, null_equal=True)
