"""What a compaction does with each file: upgrade, rewrite, or leave it (maintenance §3.2).

Small files are those below 100 bytes. A file is written ``level:low-high/size`` and may end in
``d`` (it holds deletes) or ``?`` (whether it does is not known).
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from support.builders import keyed_table, kv, live_files, rows_of, upserts

from desilt.table.lsm.run import LsmFile
from desilt.table.lsm.section import Section, TreatOptions, overlap_bytes, sections, treat
from desilt.table.manifest.entry import DataFile
from desilt.table.metadata import MetadataReader

FILE = re.compile(r"(\d+):(\d+)-(\d+)/(\d+)([d?]?)")


def lsm(text: str) -> LsmFile:
    match = FILE.fullmatch(text)
    assert match is not None
    level, low, high, size = (int(part) for part in match.groups()[:4])
    deletes = {"": 0, "d": 1, "?": None}[match[5]]
    file = DataFile(
        text, size, 10, b"", b"", 0, 9, 0, level, delete_row_count=deletes
    )  # fmt: skip
    return LsmFile(file, (low,), (high,))


def bucket(text: str) -> list[LsmFile]:
    return [lsm(word) for word in text.split()]


def name_runs(section: Section) -> set[tuple[str, ...]]:
    return {tuple(f.file.name for f in run) for run in section.runs}


# --- sections -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ("", []),
        ("0:1-5/1", [{("0:1-5/1",)}]),
        ("0:1-5/1 0:6-9/1", [{("0:1-5/1",)}, {("0:6-9/1",)}]),
        ("0:1-5/1 0:5-9/1", [{("0:1-5/1",), ("0:5-9/1",)}]),  # equal keys stay together
        ("0:6-9/1 0:1-5/1", [{("0:1-5/1",)}, {("0:6-9/1",)}]),  # in key order
        ("0:1-9/1 5:2-3/1 5:4-5/1", [{("0:1-9/1",), ("5:2-3/1", "5:4-5/1")}]),
        ("0:1-4/1 0:3-6/1 0:5-8/1", [{("0:1-4/1", "0:5-8/1"), ("0:3-6/1",)}]),  # a chain
        ("0:1-9/1 0:1-9/2", [{("0:1-9/1",), ("0:1-9/2",)}]),
        ("0:3-3/1 0:3-3/2 0:4-4/1", [{("0:3-3/1",), ("0:3-3/2",)}, {("0:4-4/1",)}]),
    ],
)
def test_sections_are(files: str, wanted: list[set[tuple[str, ...]]]) -> None:
    assert [name_runs(s) for s in sections(bucket(files))] == wanted


def test_overlap_bytes_leave_out_what_lies_alone() -> None:
    assert overlap_bytes(bucket("0:1-4/10 0:3-6/20 5:8-9/400")) == 30
    assert overlap_bytes(bucket("0:1-4/10 5:8-9/400")) == 0
    assert overlap_bytes([]) == 0


# --- upgrade, rewrite or leave ------------------------------------------------------------------

# Files | output level of a tree whose highest is 5 | upgraded | rewritten together
VECTORS = """
0:1-5/200                        | 5 | 0:1-5/200           |
0:1-5/50                         | 5 | 0:1-5/50            |
0:1-5/200d                       | 5 |                     | 0:1-5/200d
0:1-5/50d                        | 5 |                     | 0:1-5/50d
0:1-5/200?                       | 5 |                     | 0:1-5/200?
0:1-5/200d                       | 4 | 0:1-5/200d          |
0:1-5/200?                       | 4 | 0:1-5/200?          |
5:1-5/200                        | 5 |                     |
5:1-5/50                         | 5 |                     |
5:1-5/200d                       | 5 |                     | 5:1-5/200d
0:1-5/200 0:6-9/200              | 5 | 0:1-5/200 0:6-9/200 |
0:1-5/50 0:6-9/50                | 5 |                     | 0:1-5/50 0:6-9/50
0:1-5/50 0:6-9/200               | 5 | 0:1-5/50 0:6-9/200  |
0:1-5/200 0:5-9/200              | 5 |                     | 0:1-5/200 0:5-9/200
0:1-5/200 0:5-9/200 0:10-12/200  | 5 | 0:10-12/200         | 0:1-5/200 0:5-9/200
0:1-5/200 0:5-9/200 0:10-12/50   | 5 |                     | 0:1-5/200 0:5-9/200 0:10-12/50
0:1-2/50 5:3-4/200 0:5-6/50      | 5 | 0:1-2/50 0:5-6/50   |
0:1-2/50 5:3-4/50 0:5-6/50       | 5 |                     | 0:1-2/50 5:3-4/50 0:5-6/50
0:1-2/50 0:3-4/50 5:5-9/200 0:10-11/50 0:12-13/50 | 5 | | 0:1-2/50 0:3-4/50 & 0:10-11/50 0:12-13/50
0:1-2/50 0:3-4/200d 0:5-6/50     | 5 | 0:1-2/50 0:5-6/50   | 0:3-4/200d
0:1-2/50 0:3-4/200d 0:5-6/50     | 3 | 0:1-2/50 0:3-4/200d 0:5-6/50 |
0:1-2/100                        | 3 | 0:1-2/100           |
0:1-2/100 0:3-4/99               | 3 | 0:1-2/100 0:3-4/99  |
0:1-2/99 0:3-4/99                | 3 |                     | 0:1-2/99 0:3-4/99
"""


@pytest.mark.parametrize("vector", VECTORS.strip().splitlines())
def test_treatment_is(vector: str) -> None:
    files, level, upgraded, rewritten = (cell.strip() for cell in vector.split("|"))
    options = TreatOptions(output_level=int(level), max_level=5, small_file_bytes=100)

    treatment = treat(bucket(files), options)

    assert [f.file.name for f in treatment.upgrades] == upgraded.split()
    assert [
        [f.file.name for section in rewrite for f in section.files]
        for rewrite in treatment.rewrites
    ] == [part.split() for part in rewritten.split("&") if part.strip()]


def test_forced_rewrite_rewrites_each_file_by_itself() -> None:
    options = TreatOptions(5, 5, small_file_bytes=100, force_rewrite=True)

    treatment = treat(bucket("0:1-2/200 5:3-4/200 0:5-6/50"), options)

    assert treatment.upgrades == ()
    assert [[f.file.name for s in r for f in s.files] for r in treatment.rewrites] == [
        ["0:1-2/200"], ["5:3-4/200"], ["0:5-6/50"],
    ]  # fmt: skip


# --- on a table ---------------------------------------------------------------------------------


def test_single_file_is_moved_by_metadata_alone(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    ((name, _),) = live_files(table)

    summary = table.compact("full")

    assert live_files(table) == [(name, 5)]
    (done,) = summary.buckets
    assert (done.result.upgraded, done.result.bytes_read, done.result.outputs) == (1, 0, ())
    assert table.compact("full").snapshot_id is None


def test_upgrade_changes_nothing_but_the_level(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(upserts(5, "a"))
    plan = table.compact("full").buckets[0].plan

    (entry,) = plan.inputs
    latest = table.handle.snapshots.latest()
    assert latest is not None
    (moved,) = MetadataReader(table.handle).entries(latest, entry.partition, 0, {entry.file.name})
    assert moved.file.level == 5
    assert _but_level(moved.file) == _but_level(entry.file)


def _but_level(file: DataFile) -> list[object]:
    return [getattr(file, name) for name in file.__slots__ if name != "level"]


def test_file_with_deletes_is_rewritten_on_its_way_to_the_bottom(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(kv((1, "a"), (2, "b")))
    table.write(kv((3, "c")), kinds=pl.Series(["-D"]))

    done = table.compact("full").buckets[0]

    assert (done.result.upgraded, done.result.rows_out) == (0, 2)
    assert rows_of(table) == [(1, "a"), (2, "b")]


def test_disjoint_large_files_are_moved_and_stay_apart(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"target-file-size": "1 b"})
    table.write(upserts(5, "a"))
    table.write(upserts(5, "b", start=10))
    names = {name for name, _ in live_files(table)}

    done = table.compact("full").buckets[0]

    assert (done.result.upgraded, done.result.outputs) == (2, ())
    assert set(live_files(table)) == {(name, 5) for name in names}
