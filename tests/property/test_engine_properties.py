"""Every merge engine against the plain model, which is held against Java's merge functions.

Histories come from hypothesis' own randomness, so a failure shrinks to few records.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.engine_frames import frame_of_records, records_of_frame, schema_of_rules
from support.engine_model import IllegalMerge, Record, Rules, feed_order, reduce
from support.engines import ENGINES, column_value, random_rules
from support.merge_vectors import VECTORS, Vector

from desilt.table.errors import BadData
from desilt.table.merge import reduce as reducing
from desilt.table.merge.engine import Aggregation, PartialUpdate, engine_of
from desilt.table.merge.feed import feed_of_rows
from desilt.table.merge.fold import BadRecord
from desilt.table.merge.reduce import merge_rows, reduce_feed
from desilt.table.merge.rule import MergeRule

KINDS = ("+I",) * 6 + ("+U",) * 2 + ("-U", "-D")
MANY = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def a_record(rng: random.Random, rules: Rules, key: int, sequence: int, kinds: Sequence[str]):
    values = [
        column_value(rng, rules, i) if not rules.nullable[i] or rng.random() < 0.75 else None
        for i in range(len(rules.names))
    ]
    values[rules.names.index("k")] = key
    return Record(rng.choice(kinds), sequence, tuple(values))


def a_feed(rng: random.Random, rules: Rules, kinds: Sequence[str] = KINDS) -> list[Record]:
    """Records of a few keys; sequence numbers never tie."""
    keys = [key for key in range(rng.randint(1, 6)) for _ in range(rng.choice([1, 1, 2, 3, 5]))]
    numbers = rng.sample(range(len(keys) * 2), len(keys))
    return [a_record(rng, rules, k, n, kinds) for k, n in zip(keys, numbers, strict=True)]


def expected(rules: Rules, records: Sequence[Record]) -> dict[int, Record] | None:
    """By key; None where the library refuses one of them."""
    at = rules.names.index("k")
    found: dict[int, Record] = {}
    for key in sorted({r.values[at] for r in records}):  # type: ignore[type-var]
        own = feed_order(rules, [r for r in records if r.values[at] == key])
        try:
            merged = reduce(rules, own)
        except IllegalMerge:
            return None
        if merged is not None:
            found[int(key)] = replace(merged, level=0)  # type: ignore[arg-type]
    return found


def merged(rules: Rules, records: Sequence[Record]) -> dict[int, Record] | None:
    """What desilt makes of them; None where it refuses."""
    schema = schema_of_rules(rules)
    frame = frame_of_records(rules, records).drop("_LEVEL")
    try:
        rows = merge_rows(frame, MergeRule.of(schema), engine_of(schema))
    except BadData as error:
        return error.context["key"] and None  # every refusal names its key
    return dict(records_of_frame(rules, rows))


@MANY
@pytest.mark.parametrize("engine", ENGINES)
@given(rng=st.randoms(use_true_random=False))
def test_records_of_a_key_become_what_the_model_makes_of_them(
    engine: str, rng: random.Random
) -> None:
    rules = random_rules(rng, engine)
    records = a_feed(rng, rules)

    assert merged(rules, records) == expected(rules, records), (rules, records)


@MANY
@pytest.mark.parametrize("engine", ["partial-update", "aggregation"])
@given(rng=st.randoms(use_true_random=False), adds_only=st.booleans())
def test_closed_forms_equal_the_fold(engine: str, rng: random.Random, adds_only: bool) -> None:
    rules = random_rules(rng, engine)
    schema = schema_of_rules(rules)
    records = a_feed(rng, rules, ("+I", "+U") if adds_only else KINDS)
    rule, made = MergeRule.of(schema), engine_of(schema)
    assert isinstance(made, PartialUpdate | Aggregation)
    feed = feed_of_rows(frame_of_records(rules, records).drop("_LEVEL"), rule)
    try:
        fast = reduce_feed(feed, rule, made, single=np.zeros(len(feed.starts), dtype=np.bool_))
    except BadData:
        with pytest.raises(BadRecord):
            reducing.fold_all(feed, made)
        return

    slow = reducing.fold_all(feed, made)

    assert fast.rows.select(slow.columns).equals(slow, null_equal=True), (rules, records)


def test_closed_forms_of_numbers_refuse_every_overflow_on_the_way() -> None:
    """127 + 1 − 1 fits in the end; Java stops at 128."""
    rules = Rules(
        {"k": "INT NOT NULL", "v": "TINYINT"},
        ("k",),
        {"merge-engine": "aggregation", "fields.v.aggregate-function": "sum"},
    )

    def of(*values: int) -> list[Record]:
        return [Record("+I", i, (1, v)) for i, v in enumerate(values)]

    assert merged(rules, of(127, 1, -1)) is None
    assert merged(rules, of(127, -1, 1)) == {1: Record("+I", 2, (1, 127))}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_worked_examples(vector: Vector) -> None:
    found = merged(vector.rules, vector.records)

    assert found is not None
    wanted = vector.result
    assert found == ({} if wanted is None else {1: wanted})
