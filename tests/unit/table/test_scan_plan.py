"""Which files of a bucket a scan reads, and how (see `scan_plan`).

A file is written ``level:low-high=least..most``: its keys and the values of column v. It may end in
``d`` (it holds deletes), ``?`` (whether it does is not known) or ``n`` (some values are null).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest
from support.builders import append_table, keyed_table

from desilt.table.datatypes import parse_type
from desilt.table.manifest.entry import DataFile
from desilt.table.row import encode_row
from desilt.table.scan import as_pushed
from desilt.table.scan_filter import ScanFilter
from desilt.table.scan_plan import Part, Step, Way, plan_files, sure_rows
from desilt.table.scan_snapshot import file_tests
from desilt.table.schema import TableSchema
from desilt.table.stats import SimpleStats
from desilt.table.table import Table

FILE = re.compile(r"(\d+):(\d+)-(\d+)=(\d+)\.\.(\d+)([d?n]*)")
INT = parse_type("INT")
ROWS = 10
k, v, w = pl.col("k"), pl.col("v"), pl.col("w")


def data_file(text: str, *, keyed: bool = True) -> DataFile:
    match = FILE.fullmatch(text)
    assert match is not None, text
    level, low, high, least, most = (int(part) for part in match.groups()[:5])
    deletes = None if "?" in match[6] else 1 if "d" in match[6] else 0
    stats = SimpleStats(
        encode_row([low, least, None], [INT] * 3),
        encode_row([high, most, None], [INT] * 3),
        (0, 1 if "n" in match[6] else 0, None),
    )
    return DataFile(
        name=text,
        size_bytes=100,
        row_count=ROWS,
        min_key=encode_row([low], [INT]) if keyed else encode_row([], []),
        max_key=encode_row([high], [INT]) if keyed else encode_row([], []),
        min_sequence=0,
        max_sequence=9,
        schema_id=0,
        level=level,
        delete_row_count=deletes,
        value_stats=stats,
    )


COLUMNS = {"k": "INT NOT NULL", "v": "INT", "w": "INT"}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Table]:
    options: dict[str, dict[str, str]] = {
        "deduplicate": {},
        "ordered": {"sequence.field": "w"},
        "first-row": {"merge-engine": "first-row"},
        "partial-update": {"merge-engine": "partial-update"},
        "functions": {
            "merge-engine": "partial-update",
            "fields.w.sequence-group": "v",
            "fields.v.aggregate-function": "sum",
        },
        "aggregation": {"merge-engine": "aggregation", "fields.v.aggregate-function": "sum"},
        "vectors": {"deletion-vectors.enabled": "true"},
        "summed vectors": {
            "deletion-vectors.enabled": "true",
            "merge-engine": "aggregation",
            "fields.v.aggregate-function": "sum",
        },
    }
    home = tmp_path_factory.mktemp("plan")
    made = {
        name: keyed_table(home / name, columns=COLUMNS, options=given)
        for name, given in options.items()
    }
    return {**made, "append": append_table(home / "append", columns=COLUMNS)}


def filtered(schema: TableSchema, predicate: pl.Expr | None) -> ScanFilter:
    return ScanFilter.of(None if predicate is None else as_pushed(predicate, schema), schema)


def plan(table: Table, files: str, predicate: pl.Expr | None) -> tuple[list[str], dict[Step, int]]:
    """The parts as texts, and how many files each step left out."""
    schema = table.schema
    given = [data_file(word, keyed=schema.keyed) for word in files.split()]
    parts, cuts = plan_files(
        given, schema, file_tests(table.handle, schema, filtered(schema, predicate))
    )
    for cut in cuts:
        assert (cut.bytes, cut.rows) == (cut.files * 100, cut.files * ROWS)
    return [text_of(p) for p in parts], {cut.step: cut.files for cut in cuts}


def text_of(part: Part) -> str:
    return " + ".join(sorted(f.name for f in part.files)) if part.way is Way.MERGE else (
        part.files[0].name
    )  # fmt: skip


TWO = "0:1-5=1..3 0:4-9=5..7"
APART = "0:1-3=1..3 1:4-9=5..7"
CHAIN = "5:1-4=1..1 0:3-6=2..2 1:5-9=3..3"


# --- nothing asked --------------------------------------------------------------------------------


def test_everything_is_read_where_nothing_is_asked(tables: Mapping[str, Table]) -> None:
    table = tables["deduplicate"]

    assert plan(table, TWO, None) == (["0:1-5=1..3 + 0:4-9=5..7"], {})
    assert plan(table, APART, None) == (["0:1-3=1..3", "1:4-9=5..7"], {})
    assert plan(table, "", None) == ([], {})
    assert plan(tables["append"], TWO, None) == (["0:1-5=1..3", "0:4-9=5..7"], {})


def test_files_of_distinct_keys_are_read_one_by_one(tables: Mapping[str, Table]) -> None:
    for name in ("vectors", "first-row"):
        assert plan(tables[name], "1:1-5=1..3 5:4-9=5..7", None)[0] == ["1:1-5=1..3", "5:4-9=5..7"]
        assert len(plan(tables[name], "1:1-5=1..3 5:4-9=5..7d", None)[0]) == 1
        assert len(plan(tables[name], TWO, None)[0]) == 1
    assert len(plan(tables["deduplicate"], "1:1-5=1..3 5:4-9=5..7", None)[0]) == 1


# --- key ranges -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["deduplicate", "partial-update", "aggregation", "first-row"])
def test_keys_leave_files_out_whatever_the_engine(tables: Mapping[str, Table], name: str) -> None:
    table = tables[name]

    assert plan(table, CHAIN, k == 2) == (["5:1-4=1..1"], {Step.KEYS: 2})
    assert plan(table, CHAIN, k == 4) == (["0:3-6=2..2 + 5:1-4=1..1"], {Step.KEYS: 1})
    assert plan(table, CHAIN, (k < 2) | (k > 8)) == (["5:1-4=1..1", "1:5-9=3..3"], {Step.KEYS: 1})
    assert plan(table, CHAIN, k > 9) == ([], {Step.KEYS: 3})
    assert plan(table, CHAIN, k % 2 == 1)[1] == {}


def test_every_file_of_a_key_stays(tables: Mapping[str, Table]) -> None:
    """Whatever its values: it may hold the newest record."""
    found, cuts = plan(
        tables["deduplicate"], "0:1-5=1..1 0:1-5=9..9 5:1-9=5..5", (k == 3) & (v > 8)
    )

    assert found == ["0:1-5=1..1 + 0:1-5=9..9 + 5:1-9=5..5"]
    assert cuts == {}


def test_a_file_alone_after_others_went_is_asked_for_its_values(
    tables: Mapping[str, Table],
) -> None:
    """Its rows are final for the keys that are left."""
    found, cuts = plan(tables["aggregation"], "0:1-5=1..3 0:4-9=5..7", (k < 4) & (v > 3))

    assert found == []
    assert cuts == {Step.KEYS: 1, Step.STATISTICS: 1}


def test_keys_of_several_columns_bound_the_next_one_only_where_alike(tmp_path: Path) -> None:
    table = keyed_table(
        tmp_path, columns={"a": "INT NOT NULL", "b": "INT NOT NULL", "v": "INT"},
        primary_key=("a", "b"), options={"metadata.stats-mode": "none"},
    )  # fmt: skip

    def rows(*pairs: tuple[int, int]) -> pl.DataFrame:
        schema = {"a": pl.Int32, "b": pl.Int32}
        return pl.DataFrame(pairs, schema=schema, orient="row").with_columns(v=pl.lit(1, pl.Int32))

    table.write(rows((1, 5), (1, 9)))
    table.write(rows((2, 5), (3, 6)))
    b = pl.col("b")

    assert table.explain(filter=b < 5).left.files == 1
    assert table.explain(filter=b == 9).left.files == 2
    assert table.explain(filter=(pl.col("a") == 1) & (b == 4)).left.files == 0
    assert table.explain(filter=(pl.col("a") == 3) & (b == 100)).left.files == 1


# --- values ---------------------------------------------------------------------------------------


def test_values_leave_append_files_out(tables: Mapping[str, Table]) -> None:
    assert plan(tables["append"], TWO, v > 4) == (["0:4-9=5..7"], {Step.STATISTICS: 1})
    assert plan(tables["append"], TWO, (v > 4) & (k < 4)) == ([], {Step.STATISTICS: 2})
    assert plan(tables["append"], TWO, v.is_null()) == ([], {Step.STATISTICS: 2})
    assert plan(tables["append"], TWO, w.is_null()) == (["0:1-5=1..3", "0:4-9=5..7"], {})


@pytest.mark.parametrize(
    "name", ["deduplicate", "ordered", "partial-update", "functions", "aggregation", "first-row"]
)
def test_values_leave_out_a_file_that_overlaps_no_other(
    tables: Mapping[str, Table], name: str
) -> None:
    assert plan(tables[name], APART, v > 4) == (["1:4-9=5..7"], {Step.STATISTICS: 1})


@pytest.mark.parametrize("name", ["deduplicate", "ordered", "first-row", "partial-update"])
def test_values_leave_overlapping_files_out_all_or_none(
    tables: Mapping[str, Table], name: str
) -> None:
    table = tables[name]

    assert plan(table, TWO, v > 4) == (["0:1-5=1..3 + 0:4-9=5..7"], {})
    assert plan(table, TWO, v > 7) == ([], {Step.STATISTICS: 2})
    assert plan(table, f"{TWO} 0:20-30=9..9", v > 7) == (["0:20-30=9..9"], {Step.STATISTICS: 2})


def test_a_record_as_a_whole_lies_in_one_file(tables: Mapping[str, Table]) -> None:
    """Between the files' values there is a gap that no record of deduplicate falls into; of
    partial-update no value does, but another column's may come from another file."""
    for name in ("deduplicate", "first-row"):
        assert plan(tables[name], TWO, v == 4) == ([], {Step.STATISTICS: 2})
    assert plan(tables["partial-update"], TWO, v == 4)[0] == ["0:1-5=1..3 + 0:4-9=5..7"]
    both = (v < 2) & (k > 7)
    assert plan(tables["deduplicate"], "5:1-5=1..3 0:1-9=5..7", both)[1] == {
        Step.KEYS: 1, Step.STATISTICS: 1,
    }  # fmt: skip


def test_partial_update_may_make_nulls_that_no_file_has(tables: Mapping[str, Table]) -> None:
    table = tables["partial-update"]

    assert plan(table, TWO, v.is_null())[0] == ["0:1-5=1..3 + 0:4-9=5..7"]
    assert plan(table, TWO, (v > 7) | v.is_null())[0] == ["0:1-5=1..3 + 0:4-9=5..7"]
    assert plan(tables["deduplicate"], TWO, v.is_null()) == ([], {Step.STATISTICS: 2})


@pytest.mark.parametrize("name", ["functions", "aggregation"])
def test_functions_make_values_that_no_file_has(tables: Mapping[str, Table], name: str) -> None:
    assert plan(tables[name], TWO, v > 7)[0] == ["0:1-5=1..3 + 0:4-9=5..7"]


def test_columns_without_functions_are_still_asked_beside_others(
    tables: Mapping[str, Table],
) -> None:
    files = TWO.replace("=", "=")

    assert plan(tables["functions"], files, (v > 7) & w.is_not_null())[1] == {}
    assert plan(tables["partial-update"], files, (v > 7) & w.is_not_null())[1] == {
        Step.STATISTICS: 2
    }


def test_values_leave_out_single_files_where_no_key_comes_twice(
    tables: Mapping[str, Table],
) -> None:
    for name in ("vectors", "summed vectors"):
        assert plan(tables[name], "1:1-5=1..3 5:4-9=5..7", v > 4) == (
            ["5:4-9=5..7"], {Step.STATISTICS: 1},
        )  # fmt: skip
    assert plan(tables["summed vectors"], "1:1-5=1..3 5:4-9=5..7d", v > 9)[1] == {}


def test_a_text_that_java_rounded_up_to_half_a_character_bounds_nothing(tmp_path: Path) -> None:
    """U+D7FF would be followed by a surrogate, for which Java writes a question mark."""
    table = append_table(tmp_path, columns={"s": "STRING"})
    schema, text = table.schema, parse_type("STRING")

    def kept(high: str) -> int:
        stats = SimpleStats(encode_row(["a"], [text]), encode_row([high], [text]), (0,))
        empty = encode_row([], [])
        file = DataFile("f", 1, 1, empty, empty, 0, 0, 0, 0, value_stats=stats)
        tests = file_tests(table.handle, schema, filtered(schema, pl.col("s") == "a\ud7ffb"))
        return len(plan_files([file], schema, tests)[0])

    assert kept("a?") == 1
    assert kept("a@") == 0


def test_statistics_that_cannot_be_read_rule_nothing_out(tables: Mapping[str, Table]) -> None:
    table = tables["append"]
    broken = data_file("0:1-5=1..3", keyed=False)
    tests = file_tests(table.handle, table.schema, filtered(table.schema, v > 4))
    for stats in (SimpleStats(b"", b"", None), SimpleStats(b"\0\0\0\1abc", b"", (1, 2))):
        file = DataFile("f", 1, 1, broken.min_key, broken.max_key, 0, 0, 0, 0, value_stats=stats)

        assert len(plan_files([file], table.schema, tests)[0]) == 1


# --- rows that are sure ---------------------------------------------------------------------------


def test_rows_that_a_part_gives_at_least() -> None:
    def alone(text: str) -> Part:
        return Part(Way.ROWS, ((data_file(text),),))

    assert sure_rows(alone("0:1-5=1..3"), {}, keyed=True) == ROWS
    assert sure_rows(alone("0:1-5=1..3d"), {}, keyed=True) == ROWS - 1
    assert sure_rows(alone("0:1-5=1..3?"), {}, keyed=True) == 0
    assert sure_rows(alone("0:1-5=1..3?"), {}, keyed=False) == ROWS
    assert sure_rows(alone("0:1-5=1..3"), {"0:1-5=1..3": 4}, keyed=False) == ROWS - 4
    assert sure_rows(alone("0:1-5=1..3"), {"0:1-5=1..3": 99}, keyed=False) == 0
    both = ((data_file("0:1-5=1..3"),), (data_file("0:1-5=1..4"),))
    assert sure_rows(Part(Way.MERGE, both), {}, keyed=True) == 0
