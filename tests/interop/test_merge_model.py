"""The plain model of the merge engines against the library's merge functions.

Records are random and mostly unreasonable: late, tied, retracted before they were there, refused.
A failure names its seed in the test's id and prints the table and the records of the case.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from support.engine_model import (
    Changes,
    IllegalMerge,
    Record,
    Rules,
    feed_order,
    first_row_changes,
    full_changes,
    look_up,
    look_up_changes,
    merge,
    reduce,
)
from support.engines import ENGINES, column_value, random_rules
from support.peer_streams import MergeCase, Merged, Wrapper, merge_by
from support.peers import Peer
from support.seeds import seeds
from support.shapes import KEY_TYPES, random_value

CASES = 150
TOP = 5
KINDS = ("+I",) * 5 + ("+U",) * 2 + ("-U", "-D")

Expected = Callable[[Rules, MergeCase], Changes]


def record(rng: random.Random, rules: Rules, sequence: int, level: int, *, wild: bool) -> Record:
    values = [
        column_value(rng, rules, i, wild=wild)
        if not rules.nullable[i] or rng.random() < 0.75
        else None
        for i in range(len(rules.names))
    ]
    values[rules.names.index("k")] = 7
    return Record(rng.choice(KINDS), sequence, tuple(values), level)


def alike(rng: random.Random, one: Record, other: Record) -> Record:
    """The record with most values of the other one; a zero may have lost its sign."""
    pairs = zip(one.values, other.values, strict=True)
    values = [mine if rng.random() < 0.2 else given for mine, given in pairs]
    return replace(one, values=tuple("0.0" if v == "-0.0" else v for v in values))


def case(rng: random.Random, rules: Rules, *, wilds: float = 0.1) -> MergeCase:
    """Records of distinct sequence numbers, at most one from each level above 0."""
    wild = rng.random() < wilds
    count = rng.choice([1, 2, 2, 3, 4, 6])
    levels = [0] * count
    for i, level in enumerate(rng.sample(range(1, TOP + 1), rng.randrange(3))):
        levels[i % count] = level
    numbers = rng.sample(range(count * 2), count)
    records = [
        record(rng, rules, number, level, wild=wild)
        for number, level in zip(numbers, levels, strict=True)
    ]
    found = record(rng, rules, -1, 4, wild=wild) if rng.random() < 0.5 else None
    if rng.random() < 0.4:
        records = [alike(rng, one, records[0]) for one in records]
        found = found and alike(rng, found, records[0])
    return MergeCase(feed_order(rules, records), found)


def plain(record: Record | None) -> Record | None:
    return None if record is None else replace(record, level=0)


def expected(rules: Rules, one: MergeCase, by: Expected) -> Merged:
    try:
        made = by(rules, one)
    except IllegalMerge as error:
        return Merged(None, (), str(error))
    return Merged(plain(made.kept), tuple(replace(r, level=0) for r in made.changelog), None)


def same(rules: Rules, found: Merged, wanted: Merged) -> bool:
    if found.error or wanted.error:
        return bool(found.error) == bool(wanted.error)
    return _plain(rules, found) == _plain(rules, wanted)


def _plain(rules: Rules, merged: Merged) -> list[Record | None]:
    return [None if r is None else rules.plain(r) for r in (merged.result, *merged.changelog)]


def check(
    java: Peer, rules: Rules, cases: list[MergeCase], wrapper: Wrapper, by: Expected
) -> tuple[int, int]:
    """Fails on the first case that differs; how many there were and how many were refused."""
    refused = 0
    for one, found in zip(
        cases, merge_by(java, rules, cases, wrapper=wrapper, top_level=TOP), strict=True
    ):
        wanted = expected(rules, one, by)
        refused += wanted.error is not None
        if not same(rules, found, wanted):
            shown = "\n".join(map(str, one.records))
            pytest.fail(f"{rules}\n{shown}\nfound {one.found}\nlibrary {found}\nmodel {wanted}")
    return len(cases), refused


BY_WRAPPER: dict[Wrapper, Expected] = {
    "function": lambda rules, one: Changes(merge(rules, one.records)),
    "reducer": lambda rules, one: Changes(reduce(rules, one.records)),
    "lookup": lambda rules, one: Changes(look_up(rules, one.records)),
    "lookup-changelog": lambda rules, one: look_up_changes(rules, one.records, one.found),
    "full-changelog": lambda rules, one: full_changes(rules, one.records, TOP),
    "first-row": lambda rules, one: first_row_changes(
        rules, one.records, exists=one.found is not None
    ),
}


@pytest.mark.parametrize(
    "wrapper", ["function", "reducer", "lookup", "lookup-changelog", "full-changelog"]
)
@pytest.mark.parametrize("seed", seeds(0, 8))
@pytest.mark.parametrize("engine", ENGINES)
def test_the_model_merges_as_the_library(
    java: Peer, engine: str, seed: int, wrapper: Wrapper
) -> None:
    if engine == "first-row" and wrapper == "lookup-changelog":
        wrapper = "first-row"
    rng = random.Random(f"{engine} {seed}")
    rules = random_rules(rng, engine)
    cases = [case(rng, rules) for _ in range(CASES)]

    count, refused = check(java, rules, cases, wrapper, BY_WRAPPER[wrapper])

    assert refused < count


NEWER = (
    "sequence.field.sort-order",
    "partial-update.remove-record-on-sequence-group",
    "changelog-producer.row-deduplicate-ignore-fields",
    "changelog-producer.row-deduplicate",  # it knows one zero, and no NaN is equal to another
)
# Functions that 0.9 has not, or that do something else there: it joins blank texts, and keeps
# nested rows of one key side by side.
UNLIKE = {"listagg", "nested_update", "nested_partial_update", "merge_map_with_keytime"}


def oldest_rules(rng: random.Random, engine: str) -> Rules:
    """A table that 0.9 knows all of; in aggregations it goes by no sequence of its own."""
    while True:
        rules = random_rules(rng, engine)
        kept = {key: value for key, value in rules.options.items() if key not in NEWER}
        if UNLIKE & set(kept.values()) or (engine == "aggregation" and rules.sequence):
            continue
        return replace(rules, options=kept)


@pytest.mark.parametrize("wrapper", ["function", "reducer", "full-changelog"])
@pytest.mark.parametrize("seed", seeds(0, 4))
@pytest.mark.parametrize("engine", ENGINES)
def test_the_oldest_library_merges_adds_alike(
    java09: Peer, engine: str, seed: int, wrapper: Wrapper
) -> None:
    rng = random.Random(f"0.9 {engine} {seed}")
    rules = oldest_rules(rng, engine)
    cases: list[MergeCase] = []
    for _ in range(CASES):
        # Its integers wrap around where newer ones are refused.
        records = [r for r in case(rng, rules, wilds=0.0).records if r.is_add]
        if records:
            cases.append(MergeCase(records))

    check(java09, rules, cases, wrapper, BY_WRAPPER[wrapper])


def ordering_rules(rng: random.Random) -> Rules:
    """A table whose rows list the order in which they were fed."""
    columns = {"k": "INT NOT NULL", "v": "STRING"}
    named = {f"s{i}": rng.choice(KEY_TYPES) for i in range(rng.choice([1, 2]))}
    options = {
        "merge-engine": "aggregation",
        "fields.v.aggregate-function": "listagg",
        "sequence.field": ",".join(named),
        "sequence.field.sort-order": rng.choice(["ascending", "descending"]),
    }
    return Rules(columns | named, ("k",), options)


def ordering_case(rng: random.Random, rules: Rules) -> MergeCase:
    """Records with few distinct values in the first sequence column."""
    types = list(rules.columns.values())[2:]
    firsts = [random_value(rng, types[0]) for _ in range(3)]
    count = rng.randrange(2, 9)
    records: list[Record] = []
    for number in rng.sample(range(50), count):
        first, *rest = [rng.choice(firsts), *(random_value(rng, text) for text in types[1:])]
        values = [None if rng.random() < 0.2 else value for value in (first, *rest)]
        records.append(Record("+I", number, (7, str(number), *values)))
    return MergeCase(records)


@pytest.mark.parametrize("seed", seeds(0, 20))
def test_the_model_feeds_records_in_the_order_of_the_library(java: Peer, seed: int) -> None:
    rng = random.Random(seed)
    rules = ordering_rules(rng)
    cases = [ordering_case(rng, rules) for _ in range(CASES)]

    merged = merge_by(java, rules, cases, ordered=True)

    for one, found in zip(cases, merged, strict=True):
        assert found.result == merge(rules, feed_order(rules, one.records)), (rules, one)
