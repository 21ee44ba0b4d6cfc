"""Every merge engine against the plain model, which is held against Java's merge functions.

Histories come from hypothesis' own randomness, so a failure shrinks to few records.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.engine_frames import frame_of_records, records_of_frame, schema_of_rules
from support.engine_model import Changes as Changed
from support.engine_model import (
    IllegalMerge,
    Record,
    Rules,
    feed_order,
    first_row_changes,
    full_changes,
    look_up_changes,
    reduce,
)
from support.engines import ENGINES, column_value, random_rules
from support.merge_vectors import VECTORS, Vector

from desilt.table.errors import BadData
from desilt.table.merge import reduce as reducing
from desilt.table.merge.changes import (
    Changes,
    Deduplication,
    changes_at_top,
    changes_by_lookup,
    changes_of_first_rows,
)
from desilt.table.merge.engine import Aggregation, Engine, PartialUpdate, engine_of
from desilt.table.merge.feed import Feed, feed_of_rows
from desilt.table.merge.fold import BadRecord
from desilt.table.merge.reduce import merge_rows, reduce_feed
from desilt.table.merge.rule import MergeRule

KINDS = ("+I",) * 6 + ("+U",) * 2 + ("-U", "-D")
MANY = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def a_record(
    rng: random.Random, rules: Rules, key: int, sequence: int, kinds: Sequence[str]
) -> Record:
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
            found[int(key)] = rules.plain(merged)  # type: ignore[arg-type]
    return found


def merged(rules: Rules, records: Sequence[Record]) -> dict[int, Record] | None:
    """What desilt makes of them; None where it refuses."""
    schema = schema_of_rules(rules)
    frame = frame_of_records(rules, records).drop("_LEVEL")
    try:
        rows = merge_rows(frame, MergeRule.of(schema), engine_of(schema))
    except BadData as error:
        if not error.context["key"]:
            pytest.fail(f"no key is named: {error}")
        return None
    return {key: rules.plain(r) for key, r in records_of_frame(rules, rows).items()}


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


# --- what compactions make of a key, changelog included -------------------------------------------

TOP = 5


def leveled(rng: random.Random, rules: Rules, records: list[Record]) -> list[Record]:
    """Some records come from levels above 0, each key at most one from each."""
    at = rules.names.index("k")
    found: list[Record] = []
    taken: set[tuple[object, int]] = set()
    for record in records:
        level = rng.choice([0, 0, 0, 3, TOP])
        if (record.values[at], level) in taken:
            level = 0
        taken.add((record.values[at], level))
        found.append(replace(record, level=level))
    return found


def by_key(
    rules: Rules, records: Sequence[Record], one: Callable[[list[Record]], Changed]
) -> tuple[dict[int, Record], list[Record]] | None:
    """Rows that stay and the changelog, by the model; None where the library refuses."""
    at = rules.names.index("k")
    kept: dict[int, Record] = {}
    changelog: list[Record] = []
    for key in sorted({int(r.values[at]) for r in records}):  # type: ignore[arg-type]
        own = feed_order(rules, [r for r in records if r.values[at] == key])
        try:
            made = one(own)
        except IllegalMerge:
            return None
        if made.kept is not None:
            kept[key] = rules.plain(made.kept)
        changelog += [rules.plain(r) for r in made.changelog]
    return kept, changelog


def found_by(
    rules: Rules, records: Sequence[Record], one: Callable[[Feed, MergeRule, Engine], Changes]
) -> tuple[dict[int, Record], list[Record]] | None:
    """The same by desilt."""
    schema = schema_of_rules(rules)
    rule, engine = MergeRule.of(schema), engine_of(schema)
    try:
        made = one(feed_of_rows(frame_of_records(rules, records), rule), rule, engine)
    except BadData:
        return None
    log = made.changelog
    rows = records_of_frame(rules, made.rows)
    told = [r for i in range(log.height) for r in records_of_frame(rules, log.slice(i, 1)).values()]
    return {key: rules.plain(r) for key, r in rows.items()}, [rules.plain(r) for r in told]


def no_nothing(rules: Rules, records: Sequence[Record]) -> bool:
    """Without keys of which nothing is left: the library fails on those, and writers make none."""
    at = rules.names.index("k")
    keys = {json.dumps(r.values[at]) for r in records}
    return not rules.ignores_deletes or all(
        any(r.is_add for r in records if json.dumps(r.values[at]) == key) for key in keys
    )


@MANY
@pytest.mark.parametrize("engine", ["deduplicate", "partial-update", "aggregation"])
@given(rng=st.randoms(use_true_random=False), lower=st.booleans())
def test_level_0_moved_up_leaves_rows_and_changelog_of_the_model(
    engine: str, rng: random.Random, lower: bool
) -> None:
    rules = random_rules(rng, engine)
    records = leveled(rng, rules, a_feed(rng, rules)) if lower else a_feed(rng, rules)
    assume(no_nothing(rules, records))
    same = Deduplication.of(schema_of_rules(rules))

    found = found_by(rules, records, lambda f, r, e: changes_by_lookup(f, r, e, same))

    assert found == by_key(rules, records, lambda own: look_up_changes(rules, own, None))


@MANY
@pytest.mark.parametrize("engine", ["deduplicate", "partial-update", "aggregation"])
@given(rng=st.randoms(use_true_random=False))
def test_a_merge_into_the_top_leaves_rows_and_changelog_of_the_model(
    engine: str, rng: random.Random
) -> None:
    rules = random_rules(rng, engine)
    records = leveled(rng, rules, a_feed(rng, rules))
    assume(no_nothing(rules, records))
    same = Deduplication.of(schema_of_rules(rules))

    found = found_by(rules, records, lambda f, r, e: changes_at_top(f, r, e, same, TOP))

    wanted = by_key(rules, records, lambda own: full_changes(rules, own, TOP))
    if found is not None:
        adds = {k: r for k, r in found[0].items() if r.is_add}  # a rewrite drops the others
        found = adds, found[1]
    assert found == wanted


@MANY
@given(rng=st.randoms(use_true_random=False))
def test_first_rows_are_new_unless_they_are_there(rng: random.Random) -> None:
    rules = random_rules(rng, "first-row")
    records = leveled(rng, rules, a_feed(rng, rules))
    assume(no_nothing(rules, records))
    at = rules.names.index("k")
    keys = sorted({int(r.values[at]) for r in records})  # type: ignore[arg-type]
    known = {key for key in keys if rng.random() < 0.4}
    mask = np.array([key in known for key in keys])

    found = found_by(rules, records, lambda f, r, e: changes_of_first_rows(f, r, e, mask))

    assert found == by_key(
        rules, records, lambda own: first_row_changes(rules, own, exists=own[0].values[at] in known)
    )


@pytest.mark.parametrize(("before", "after", "changes"), [("NaN", "NaN", 0), ("0.0", "-0.0", 2)])
def test_floats_change_when_their_bits_do(before: str, after: str, changes: int) -> None:
    """Seen in Java, which compares floats by their bits here."""
    rules = Rules(
        {"k": "INT NOT NULL", "v": "DOUBLE"},
        ("k",),
        {"merge-engine": "deduplicate", "changelog-producer.row-deduplicate": "true"},
    )
    records = [Record("+I", 1, (1, before), TOP), Record("+I", 2, (1, after), 0)]
    same = Deduplication.of(schema_of_rules(rules))

    found = found_by(rules, records, lambda f, r, e: changes_by_lookup(f, r, e, same))

    assert found is not None
    assert len(found[1]) == changes
