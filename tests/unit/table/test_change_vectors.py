"""The tables of maintenance §3.4, §4.1, §4.7 and §5, line by line: what is kept of a key, and told.

A record is written ``kind value @ sequence L level``; random histories are held against the model
in ``tests/property``, and the model against the library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from support.engine_frames import frame_of_records, records_of_frame, schema_of_rules
from support.engine_model import Record, Rules

from desilt.table.compaction_rules import CompactionRules
from desilt.table.merge.changes import (
    Changes,
    Deduplication,
    changes_at_top,
    changes_by_lookup,
    changes_of_first_rows,
    merged_by_lookup,
)
from desilt.table.merge.engine import engine_of
from desilt.table.merge.feed import Feed, feed_of_rows
from desilt.table.merge.rule import MergeRule

TOP = 5
DEDUP = {"changelog-producer.row-deduplicate": "true"}
LATE = {"sequence.field": "v"}


def rules_of(engine: str, options: Mapping[str, str]) -> Rules:
    function = {"fields.v.aggregate-function": "sum"} if engine == "aggregation" else {}
    columns = {"k": "INT NOT NULL", "v": "INT"}
    return Rules(columns, ("k",), {"merge-engine": engine, **function, **options})


def record_of(text: str) -> Record:
    """``+I 1 @ 7 L 0``"""
    kind, value, _, sequence, _, level = text.split()
    return Record(kind, int(sequence), (1, int(value)), int(level))


class Case:
    """The records of one key and the rules under which they are merged."""

    def __init__(self, engine: str, records: str, options: Mapping[str, str]) -> None:
        self.rules = rules_of(engine, options)
        schema = schema_of_rules(self.rules)
        self.rule, self.engine = MergeRule.of(schema), engine_of(schema)
        self.same = Deduplication.of(schema)
        found = [record_of(text) for text in records.split(",")]
        self.feed: Feed = feed_of_rows(frame_of_records(self.rules, found), self.rule)

    def lines(self, made: Changes) -> tuple[str, str]:
        """What is kept, and what is told, as text."""
        log = made.changelog
        told = [log.slice(i, 1) for i in range(log.height)]
        kept = [made.rows.slice(i, 1) for i in range(made.rows.height)]
        return tuple(
            ", ".join(
                f"{r.kind} {r.values[1]} @ {r.sequence}"
                for row in rows
                for r in records_of_frame(self.rules, row).values()
            )
            for rows in (kept, told)
        )  # type: ignore[return-value]  # it is two


FULL: Sequence[tuple[str, Mapping[str, str], str, str]] = [
    ("+I 1 @ 0 L 0", {}, "+I 1 @ 0", "+I 1 @ 0"),
    ("-D 1 @ 0 L 0", {}, "-D 1 @ 0", ""),
    ("+I 1 @ 0 L 5, -D 2 @ 1 L 0", {}, "-D 2 @ 1", "-D 1 @ 0"),
    ("+I 1 @ 0 L 5", {}, "+I 1 @ 0", ""),
    ("-D 1 @ 0 L 5", {}, "-D 1 @ 0", ""),
    ("+I 1 @ 0 L 5, +I 2 @ 1 L 0", {}, "+I 2 @ 1", "-U 1 @ 0, +U 2 @ 1"),
    ("+I 1 @ 0 L 5, +I 1 @ 1 L 0", {}, "+I 1 @ 1", "-U 1 @ 0, +U 1 @ 1"),
    ("+I 1 @ 0 L 5, +I 1 @ 1 L 0", DEDUP, "+I 1 @ 1", ""),
    ("+I 1 @ 0 L 5, -D 1 @ 1 L 3, +U 3 @ 2 L 0", {}, "+U 3 @ 2", "-U 1 @ 0, +U 3 @ 2"),
]
"""Maintenance §5.2; what is kept of retracts is dropped by the rewrite."""


@pytest.mark.parametrize(("records", "options", "kept", "told"), FULL)
def test_a_full_compaction(records: str, options: Mapping[str, str], kept: str, told: str) -> None:
    case = Case("deduplicate", records, options)

    made = changes_at_top(case.feed, case.rule, case.engine, case.same, TOP)

    assert case.lines(made) == (kept, told)


def test_a_full_compaction_of_levels_of_which_the_lowest_counts() -> None:
    """With force-lookup; what was at the top is what was told, whether it counts or not."""
    case = Case("aggregation", "+I 1 @ 0 L 5, +I 2 @ 1 L 4, +I 4 @ 2 L 0", {})

    made = changes_at_top(case.feed, case.rule, case.engine, case.same, TOP, lowest_level=True)

    assert case.lines(made) == ("+I 6 @ 2", "-U 1 @ 0, +U 6 @ 2")


LOOKUP: Sequence[tuple[str, str, Mapping[str, str], str, str]] = [
    ("deduplicate", "+I 1 @ 0 L 0", {}, "+I 1 @ 0", "+I 1 @ 0"),
    ("deduplicate", "-D 1 @ 0 L 0", {}, "-D 1 @ 0", ""),
    ("deduplicate", "-D 1 @ 0 L 5, +U 2 @ 1 L 0", {}, "+U 2 @ 1", "+I 2 @ 1"),
    ("deduplicate", "-D 1 @ 0 L 5, -D 2 @ 1 L 0", {}, "-D 2 @ 1", ""),
    ("deduplicate", "+I 1 @ 0 L 5, -D 2 @ 1 L 0", {}, "-D 2 @ 1", "-D 1 @ 0"),
    ("deduplicate", "+I 1 @ 0 L 5, +I 1 @ 1 L 0", DEDUP, "+I 1 @ 1", ""),
    ("deduplicate", "+I 1 @ 0 L 5, +I 1 @ 1 L 0", {}, "+I 1 @ 1", "-U 1 @ 0, +U 1 @ 1"),
    # No record of level 0: nothing is told.
    ("deduplicate", "+I 1 @ 0 L 5, +I 2 @ 1 L 4", {}, "+I 2 @ 1", ""),
    # What loses by sequence.field moves the winner up, and is told without a difference.
    ("deduplicate", "+I 9 @ 0 L 5, +I 1 @ 1 L 0", LATE, "+I 9 @ 0", "-U 9 @ 0, +U 9 @ 0"),
    ("deduplicate", "+I 9 @ 0 L 5, -D 1 @ 1 L 0", LATE, "+I 9 @ 0", "-U 9 @ 0, +U 9 @ 0"),
    ("deduplicate", "+I 9 @ 0 L 5, -D 1 @ 1 L 0", LATE | DEDUP, "+I 9 @ 0", ""),
    # Of the levels above 0 the lowest, whatever its sequence.
    ("aggregation", "+I 1 @ 0 L 5, +I 2 @ 1 L 4, +I 4 @ 2 L 0", {}, "+I 6 @ 2",
     "-U 2 @ 1, +U 6 @ 2"),
    ("aggregation", "+I 7 @ 9 L 5, +I 2 @ 1 L 4, +I 4 @ 2 L 0", {}, "+I 6 @ 2",
     "-U 2 @ 1, +U 6 @ 2"),
    # A lone record is merged, too.
    ("aggregation", "-D 3 @ 0 L 0", {}, "+I -3 @ 0", "+I -3 @ 0"),
    ("aggregation", "+U 3 @ 0 L 0", {}, "+I 3 @ 0", "+I 3 @ 0"),
    ("partial-update", "+U 3 @ 0 L 0", {}, "+I 3 @ 0", "+I 3 @ 0"),
]  # fmt: skip
"""Maintenance §5.3, §4.7."""


@pytest.mark.parametrize(("engine", "records", "options", "kept", "told"), LOOKUP)
def test_level_0_moved_up(
    engine: str, records: str, options: Mapping[str, str], kept: str, told: str
) -> None:
    case = Case(engine, records, options)

    made = changes_by_lookup(case.feed, case.rule, case.engine, case.same)

    assert case.lines(made) == (kept, told)


@pytest.mark.parametrize(
    ("records", "exists", "kept", "told"),
    [
        ("+U 1 @ 0 L 0, +I 2 @ 1 L 0", False, "+U 1 @ 0", "+U 1 @ 0"),
        ("+I 1 @ 0 L 0", True, "", ""),
        ("+I 1 @ 0 L 4, +I 2 @ 1 L 0", False, "+I 1 @ 0", ""),
        ("+I 1 @ 0 L 4, +I 2 @ 1 L 0", True, "+I 1 @ 0", ""),
    ],
)
def test_first_rows(records: str, exists: bool, kept: str, told: str) -> None:
    """Maintenance §5.4."""
    case = Case("first-row", records, {})

    made = changes_of_first_rows(case.feed, case.rule, case.engine, np.array([exists]))

    assert case.lines(made) == (kept, told)


@pytest.mark.parametrize("engine", ["deduplicate", "partial-update", "aggregation"])
@pytest.mark.parametrize("kind", ["+I", "-U", "+U", "-D"])
@pytest.mark.parametrize("level", [0, 3])
def test_a_lone_record_is_not_merged_where_nothing_is_looked_up(
    engine: str, kind: str, level: int
) -> None:
    """Maintenance §4.1: kind, sequence and values as they are."""
    case = Case(engine, f"{kind} 3 @ 7 L {level}", {})

    rows = merged_by_lookup(case.feed, case.rule, case.engine).kept(drop_deletes=False)

    assert case.lines(Changes(rows, rows.clear()))[0] == f"{kind} 3 @ 7"


@pytest.mark.parametrize(
    ("output", "highest", "vectors", "drops"),
    [
        (4, 5, False, False),
        (5, 5, False, True),
        (4, 4, False, True),
        (4, 3, False, True),
        (0, 0, False, False),
        (1, 5, True, True),
        (0, 5, True, False),
    ],
)
def test_when_deletes_may_be_dropped(output: int, highest: int, vectors: bool, drops: bool) -> None:
    """Maintenance §3.4."""
    assert CompactionRules(deletion_vectors=vectors).drops_deletes(output, highest) is drops
