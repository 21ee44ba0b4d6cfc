"""Golden tables in tests/fixtures, one of each writer and kind: they need no peer to be read.

tests/fixtures/make_tables.py made them; for those of make_engine_tables.py see
`test_golden_engines`. What older releases wrote must stay readable for ever, so
they are not made anew unless something is added.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.frames import rows_of
from support.histories import alike
from support.shapes import Shape

from desilt.table.catalog import Catalog
from desilt.table.table import Table

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
ENGINES = "-engines"
ARCHIVES = sorted(
    name
    for path in FIXTURES.glob("*.tar.xz")
    if not (name := path.name.removesuffix(".tar.xz")).endswith(ENGINES)
)
SIZE_MAX = 300_000


class Golden:
    """A golden table unpacked, and the rows it must hold."""

    def __init__(self, archive: str, home: Path) -> None:
        with tarfile.open(FIXTURES / f"{archive}.tar.xz") as packed:
            packed.extractall(home, filter="data")
        found: dict[str, Any] = json.loads((home / "rows.json").read_text(encoding="utf-8"))
        self.shape = Shape(found["columns"], (), (), {})
        self.rows = alike(found["rows"])
        self.table: Table = Catalog(str(home)).table("default.t")

    def read(self) -> list[str]:
        return alike(rows_of(self.shape, self.table.scan().collect()))


@pytest.fixture(params=ARCHIVES)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    return Golden(request.param, tmp_path)


def test_a_golden_table_of_every_writer_is_there() -> None:
    writers = ("java-0.9.0", "java-2.0.0", "pypaimon")
    assert [f"{w}-{kind}" for w in writers for kind in ("appended", "keyed")] == ARCHIVES
    assert sum(path.stat().st_size for path in FIXTURES.iterdir()) < SIZE_MAX


def test_a_golden_table_is_read(golden: Golden) -> None:
    assert golden.read() == golden.rows


@pytest.mark.parametrize("mode", ["minor", "full"])
def test_a_golden_table_is_compacted(golden: Golden, mode: Any) -> None:
    golden.table.compact(mode, verify="full")
    assert golden.read() == golden.rows


def test_a_golden_table_is_written_on(golden: Golden) -> None:
    before = golden.table.scan().collect()
    golden.table.write(before)
    again = golden.rows if golden.table.schema.keyed else sorted(golden.rows * 2)
    assert golden.read() == again
