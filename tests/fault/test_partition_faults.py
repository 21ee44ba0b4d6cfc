"""Dropping partitions and merging manifests die, fail or lose an answer at every storage call: each
is done whole or not at all, and what is left behind bears the task's id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from support.atomic import check_whole_or_not
from support.builders import catalog, copied, live_files, reopened, rows_of
from support.faulty import files_below
from support.shelves import Shelves, cases

from desilt.table.metadata import MetadataReader
from desilt.table.table import Table

OLD, NEW = "2023-10-01", "2023-11-14"


@dataclass(frozen=True, slots=True)
class Story:
    """Something done to a table, and how to see whether it was."""

    act: Callable[[Table], object]
    state: Callable[[Table], object]


def _manifests(table: Table) -> object:
    snapshot = table.handle.snapshots.latest()
    assert snapshot is not None
    metas = MetadataReader(table.handle).manifests(snapshot)
    return len(metas) == 1, rows_of(table), live_files(table)


STORIES = {
    "expire": Story(lambda t: t.expire_partitions(), rows_of),
    "drop": Story(lambda t: t.drop_partitions([{"p": OLD}]), rows_of),
    "manifests": Story(lambda t: t.compact_manifests(), _manifests),
}


def made(folder: Path) -> Table:
    """Two partitions of three files, one of them with deletion vectors."""
    table = catalog(folder).create_table(
        "db.t", {"p": "STRING", "n": "INT"}, partition_by=["p"],
        options={
            "bucket": "-1", "deletion-vectors.enabled": "true", "partition.expiration-time": "7 d",
        },
    )  # fmt: skip
    for turn in range(3):
        given = [(p, turn * 10 + n) for p in (OLD, NEW) for n in range(4)]
        table.write(pl.DataFrame(given, schema={"p": pl.String, "n": pl.Int32}, orient="row"))
    table.delete(pl.col("n") == 11)
    return table


@cases(STORIES, s3=["drop", "manifests"])
def test_it_is_done_whole_or_not_at_all_whatever_happens(
    case: Story, shelves: Shelves, tmp_path: Path
) -> None:
    shelf = shelves(made(tmp_path / "made"))

    tried = check_whole_or_not(shelf, case.act, case.state)
    assert tried > (30 if shelf.exhaustive else 20)


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_a_snapshot_that_was_replaced_is_published_again(story: Story, tmp_path: Path) -> None:
    """Another engine renamed its own snapshot over ours; the next call finds that out."""
    table = made(tmp_path)
    path = f"{table.path}/snapshot/snapshot-5"
    other = reopened(copied(table, tmp_path / "other"))
    other.write(pl.DataFrame({"p": [NEW], "n": pl.Series([99], dtype=pl.Int32)}))
    old = story.state(other)
    story.act(table)
    for name in files_below(other.path) - files_below(table.path):
        target = Path(name.replace(other.path, table.path))
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(Path(name).read_bytes())
    Path(path).write_bytes(Path(f"{other.path}/snapshot/snapshot-5").read_bytes())
    assert story.state(table) == old

    table.write(pl.DataFrame({"p": [NEW], "n": pl.Series([100], dtype=pl.Int32)}))

    assert {(NEW, 99), (NEW, 100)} <= set(rows_of(table))
    assert (OLD in {row[0] for row in rows_of(table)}) == (story is STORIES["manifests"])
