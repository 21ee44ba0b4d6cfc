"""docs/support-matrix.md says what the code does, and names tests that are there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import polars as pl
import pytest
from support.builders import catalog
from support.drawn import demanded, drawn
from support.engines import Cell
from support.faulty import files_below
from support.matrix import ROWS, combinations, refusal
from support.matrix_docs import DOCUMENT, TABLES, filled
from support.plays import ROUNDS, Way, seeds_of, ways_of

from desilt.table.catalog import open_table
from desilt.table.errors import InvalidRequest
from desilt.table.table import Table

ROOT = Path(__file__).parents[2]
COLUMNS = {"k": "INT NOT NULL", "v": "BIGINT"}
ROWS_OF_TWO_KEYS = pl.DataFrame({"k": [1, 2], "v": [1, None]})
SEEDS = 3
HISTORIES = 200
NO_ROWS = [cell for cell in combinations() if cell not in ROWS]


def test_its_tables_are_those_of_the_code() -> None:
    """`PYTHONPATH=tests .venv/bin/python -m support.matrix_docs` writes them anew."""
    text = DOCUMENT.read_text(encoding="utf-8")

    assert re.findall(r"^<!-- ([\w-]+) -->$", text, re.MULTILINE) == list(TABLES)
    assert filled(text) == text


# --- what is no row -----------------------------------------------------------------------------


def test_every_combination_is_a_row_or_refused() -> None:
    assert [cell for cell in combinations() if refusal(cell) is None] == list(ROWS)


def made(folder: Path, cell: Cell) -> Table:
    """A table with rows that somebody turned into one of these options."""
    table = catalog(folder).create_table(
        "db.t", COLUMNS, primary_key=["k"], options={"bucket": "1"}
    )
    table.write(ROWS_OF_TWO_KEYS)
    path = Path(f"{table.path}/schema/schema-0")
    schema = json.loads(path.read_bytes())
    path.write_text(json.dumps({**schema, "options": {"bucket": "1", **cell.options}}))
    return table


@pytest.mark.parametrize("cell", NO_ROWS, ids=str)
def test_what_is_no_row_is_refused(tmp_path: Path, cell: Cell) -> None:
    refused = refusal(cell)
    assert refused is not None
    says = re.escape(refused.desilt)
    table = made(tmp_path / "made", cell)
    before = files_below(table.path)

    with pytest.raises(InvalidRequest, match=says):
        catalog(tmp_path).create_table(
            "db.t", COLUMNS, primary_key=["k"], options={"bucket": "1", **cell.options}
        )
    with pytest.raises(InvalidRequest, match=says):
        open_table(table.path)
    for act in (
        lambda: table.scan().collect(),
        lambda: list(table.changes(0, 1)),
        lambda: table.write(ROWS_OF_TWO_KEYS),
        lambda: table.compact("full"),
        lambda: table.compact("minor"),
    ):
        with pytest.raises(InvalidRequest, match=says):
            act()
    assert files_below(table.path) == before


# --- what is played -----------------------------------------------------------------------------


@cache
def collected() -> list[str]:
    """Ids of all tests that play histories, as `make test` runs them."""
    names = ("test_matrix.py", "test_matrix_pypaimon.py", "test_append_histories.py")
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q"]
    found = subprocess.run(
        [*command, *(f"tests/interop/{name}" for name in names)],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "DESILT_HISTORIES"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [
        line for line in found.stdout.splitlines() if "::" in line and "_java_allow" not in line
    ]


def test_every_row_is_played_with_three_seeds_in_each_direction() -> None:
    played = Counter(re.sub(r"-\d+\]$", "]", name).partition("::")[2] for name in collected())

    for cell in ROWS:
        assert played[f"test_java_writes_and_desilt_compacts[{cell}]"] >= SEEDS
        assert played[f"test_desilt_writes_and_java_compacts[{cell}]"] >= SEEDS
        reads = int("pypaimon-reads" in ways_of(cell))
        assert played[f"test_pypaimon_reads_what_others_compacted[{cell}]"] == reads
        assert played[f"test_others_compact_what_pypaimon_wrote[{cell}]"] == reads


@pytest.mark.parametrize("way", ["java-writes", "desilt-writes"])
@pytest.mark.parametrize("cell", ROWS, ids=str)
def test_a_row_s_histories_have_everything_in_them(cell: Cell, way: Way) -> None:
    """Both kinds of compactions; nulls, deletes, updates in pairs, and records that come late."""
    seeds = seeds_of(cell, way)

    assert demanded(cell) - drawn(cell, seeds, ROUNDS) == set(), f"seeds {seeds}"


def test_two_hundred_histories_are_played() -> None:
    assert len(collected()) >= HISTORIES
