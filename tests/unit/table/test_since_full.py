"""Commits and time since a bucket was merged whole, counted from what deltas say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.builders import ManualClock, Task, keyed_table, kv
from support.watch import Act, Watch, compact, overwrite

from desilt.table.errors import UnsupportedFeature
from desilt.table.options import TableOptions
from desilt.table.table import Table


def health(table: Table, now_millis: int = 0) -> dict[str, Any]:
    """What one who looks for the first time sees."""
    watch = Watch(table)
    watch.look()
    return watch.health(now_millis)


def commits(table: Table, times: int = 1) -> None:
    for number in range(times):
        table.write(kv((number, "v")))


def test_commits_are_counted_since_all_was_one_run(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    watch = Watch(table)
    seen: list[int] = []
    acts: tuple[Act, ...] = (commits, commits, compact, commits)
    for act in acts:
        act(table)
        watch.look()
        seen.append(watch.health()["commits_since_full"])

    assert seen == [1, 2, 0, 1]
    assert health(table)["commits_since_full"] == 1


def test_commits_stay_counted_when_their_files_are_lifted_but_not_merged_with_all(
    tmp_path: Path,
) -> None:
    table = keyed_table(tmp_path)
    table.write(kv(*((n, "v" * 50) for n in range(3000))))
    table.compact("full")
    commits(table, 5)

    table.compact("minor")
    commits(table)
    found = health(table)

    assert [run["level"] for run in found["runs"]] == [0, 4, 5]
    assert found["commits_since_full"] == 6
    assert found["max_level"] == 5


def test_commits_to_other_buckets_count_from_the_first_that_waits(tmp_path: Path) -> None:
    """As in Java: a bucket that was written once is merged when the table's turn comes."""
    table = keyed_table(
        tmp_path, columns={"p": "INT NOT NULL", "k": "INT NOT NULL"}, primary_key=["p", "k"],
        partition_by=["p"],
    )  # fmt: skip
    watch = Watch(table)

    def write(p: int) -> None:
        schema = {"p": pl.Int32(), "k": pl.Int32()}
        table.write(pl.DataFrame({"p": [p], "k": [1]}, schema=schema))

    def counted() -> list[tuple[str, int]]:
        watch.look()
        return watch.observer.health(0).select("partition", "commits_since_full").rows()

    for p in (1, 2, 2, 2):
        write(p)
    assert counted() == [("p=1", 4), ("p=2", 3)]

    table.compact("full", partition={"p": "1"})
    write(2)
    assert counted() == [("p=1", 0), ("p=2", 4)]


def test_an_overwrite_is_one_commit_and_the_first_of_what_is_there(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    watch = Watch(table)
    commits(table, 3)
    watch.look()

    overwrite(table)
    commits(table)
    watch.look()

    assert watch.health()["commits_since_full"] == 2


def test_what_comes_during_a_full_compaction_still_waits(tmp_path: Path) -> None:
    """Two commits land between its plan and its snapshot."""
    table = keyed_table(tmp_path)
    commits(table, 3)
    task = Task.of(table.handle)
    plan = task.plan()
    result = task.rewrite(plan)
    commits(table, 2)
    task.commit(plan, result)

    assert health(table)["commits_since_full"] == 2


def expire_upto(table: Table, last: int) -> None:
    for snapshot_id in range(1, last + 1):
        Path(f"{table.path}/snapshot/snapshot-{snapshot_id}").unlink(missing_ok=True)
    Path(f"{table.path}/snapshot/EARLIEST").write_text(str(last + 1))


def test_what_was_appended_by_an_expired_snapshot_came_before_all_that_was_seen(
    tmp_path: Path,
) -> None:
    table = keyed_table(tmp_path)
    commits(table, 5)
    expire_upto(table, 2)

    assert health(table)["commits_since_full"] == 4  # three of which were seen


def test_what_an_expired_snapshot_lifted_came_before_all_that_was_seen(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(kv(*((n, "v" * 50) for n in range(3000))))
    table.compact("full")
    commits(table, 5)
    table.compact("minor")
    expire_upto(table, 7)
    commits(table, 2)
    found = health(table)

    assert [run["level"] for run in found["runs"]] == [0, 0, 4, 5]
    assert found["commits_since_full"] == 3  # and the compaction's snapshot is no commit


def test_what_came_and_expired_between_two_looks_came_after_the_first(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    watch = Watch(table)
    commits(table, 5)
    watch.look()
    table.compact("full")
    watch.look()
    commits(table, 3)
    expire_upto(table, 8)
    commits(table)
    watch.look()

    assert watch.health()["commits_since_full"] == 3  # two that were seen, and what came before


def test_the_age_counts_from_the_snapshot_that_merged_all(tmp_path: Path) -> None:
    clock = ManualClock()
    table = keyed_table(tmp_path, clock=clock)
    commits(table, 2)
    assert health(table, clock.millis)["full_age_seconds"] is None

    clock.advance(100)
    table.compact("full")
    clock.advance(7)
    assert health(table, clock.millis)["full_age_seconds"] == 7.0
    assert health(table, clock.millis - 60_000)["full_age_seconds"] == 0.0


def test_the_age_counts_from_the_newest_file_where_nobody_saw_its_snapshot(tmp_path: Path) -> None:
    clock = ManualClock()
    table = keyed_table(
        tmp_path, clock=clock, options={"compaction.optimization-interval": "1 min"}
    )
    commits(table, 2)
    clock.advance(100)
    table.compact("full")
    clock.advance(50)
    commits(table)
    expire_upto(table, 3)

    assert health(table, clock.millis)["full_age_seconds"] == pytest.approx(50.0, abs=1.0)


@pytest.mark.parametrize(
    ("given", "commits_", "interval"),
    [
        ({}, None, None),
        ({"changelog-producer": "full-compaction"}, 1, None),
        (
            {
                "changelog-producer": "full-compaction",
                "full-compaction.delta-commits": "7",
            },
            7,
            None,
        ),
        ({"full-compaction.delta-commits": "3"}, 3, None),
        ({"full-compaction.delta-commits": "0"}, 1, None),
        ({"full-compaction.delta-commits": "-1"}, None, None),
        ({"compaction.optimization-interval": "90 s"}, None, 90_000),
        (
            {
                "changelog-producer": "full-compaction",
                "changelog-producer.compaction-interval": "2 min",
            },
            None,
            120_000,
        ),
        ({"changelog-producer.compaction-interval": "2 min"}, None, 120_000),
        (
            {
                "full-compaction.delta-commits": "4",
                "changelog-producer.compaction-interval": "2 min",
            },
            4,
            None,
        ),
    ],
)
def test_options_say_at_which_pace(
    given: dict[str, str], commits_: int | None, interval: int | None
) -> None:
    full = TableOptions(given, keyed=True).full

    assert (full.commits, full.interval_millis) == (commits_, interval)


def test_a_pace_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFeature, match=r"full-compaction\.delta-commits"):
        keyed_table(tmp_path, options={"full-compaction.delta-commits": "often"})


def test_health_says_what_the_table_asks_for(tmp_path: Path) -> None:
    options = {
        "full-compaction.delta-commits": "3",
        "compaction.optimization-interval": "90 s",
        "compaction.total-size-threshold": "1 kb",
        "compaction.incremental-size-threshold": "1 mb",
    }
    table = keyed_table(tmp_path, options=options)
    commits(table)

    found = health(table)

    names = ("full_commits", "full_interval_seconds", "full_below_bytes", "full_above_bytes")
    assert [found[name] for name in names] == [3, 90.0, 1024, 2**20]
    assert found["full"] is False
