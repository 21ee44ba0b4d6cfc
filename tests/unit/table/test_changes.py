"""Changes between snapshots, and following a table as a consumer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import polars as pl
import pytest
from support.builders import (
    ManualClock,
    append_table,
    catalog,
    keyed_table,
    kv,
    reopened,
    rows_of,
    upserts,
)

from desilt.table.change_reader import Changes
from desilt.table.consumers import ConsumerStore
from desilt.table.errors import InvalidRequest, UnsupportedFeature
from desilt.table.follow import TOUCH_MILLIS
from desilt.table.handle import World
from desilt.table.table import Table

LOOKUP = {"changelog-producer": "lookup"}
Told = list[tuple[int, str, object, object]]


def told(changes: Iterator[Changes]) -> Told:
    """(snapshot, kind, key, value) of every change."""
    return [
        (part.snapshot_id, kind, *row)
        for part in changes
        for kind, row in zip(part.kinds, part.rows.iter_rows(), strict=True)
    ]


def changed(table: Table) -> Told:
    """All changes, without the snapshot."""
    return told(table.changes(0, table.handle.snapshots.latest_id() or 0))


# --- changes --------------------------------------------------------------------------------------


def test_without_a_producer_what_was_written_is_told(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(kv((1, "a"), (2, "b")))
    table.write(kv((1, "c")))
    table.delete(kv((2, None)).select("k"))
    table.compact("full")

    assert changed(table) == [
        (1, "+I", 1, "a"), (1, "+I", 2, "b"), (2, "+I", 1, "c"), (3, "-D", 2, None),
    ]  # fmt: skip


def test_an_input_changelog_is_what_came_in_whatever_was_merged(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"changelog-producer": "input"})
    kinds = pl.Series(["+I", "-U", "+U"])

    table.write(kv((1, "a"), (1, "a"), (1, "b")), kinds=kinds)
    table.compact("full")

    assert changed(table) == [(1, "+I", 1, "a"), (1, "-U", 1, "a"), (1, "+U", 1, "b")]


def test_a_lookup_changelog_tells_before_and_after(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options=LOOKUP)
    table.write(kv((1, "a"), (2, "b")))
    table.compact("minor")
    table.write(kv((1, "c")))
    table.delete(kv((2, None)).select("k"))
    table.compact("minor")

    assert changed(table) == [
        (2, "+I", 1, "a"), (2, "+I", 2, "b"),
        (5, "-U", 1, "a"), (5, "+U", 1, "c"), (5, "-D", 2, "b"),
    ]  # fmt: skip


def test_the_first_bound_is_left_out_and_the_last_is_in(tmp_path: Path) -> None:
    table = append_table(tmp_path)
    for n in range(4):
        table.write(pl.DataFrame({"n": [n], "v": ["x"]}))

    assert told(table.changes(1, 3)) == [(2, "+I", 1, "x"), (3, "+I", 2, "x")]
    assert told(table.changes(3, 3)) == []


def test_columns_are_chosen_and_ordered(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(kv((1, "a")))

    (part,) = table.changes(0, 1, columns=["v"])
    assert part.rows.to_dict(as_series=False) == {"v": ["a"]}
    (part,) = table.changes(0, 1, columns=["v", "k"])
    assert part.rows.columns == ["v", "k"]
    with pytest.raises(InvalidRequest, match="column=x"):
        list(table.changes(0, 1, columns=["x"]))


def test_changes_can_be_written_again(tmp_path: Path) -> None:
    """Rows and kinds go straight into another table's write."""
    table = keyed_table(tmp_path / "a", options=LOOKUP)
    copy = keyed_table(tmp_path / "b")
    for step in range(4):
        table.write(upserts(5, f"v{step}-", start=step))
        table.delete(kv((step, None)).select("k"))
        table.compact("minor")

    for part in table.changes(0, table.handle.snapshots.latest_id() or 0):
        copy.write(part.rows, kinds=part.kinds)

    assert rows_of(copy) == rows_of(table)


def test_rows_of_older_schemas_come_in_the_newest(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    table.write(kv((1, "a")))
    schema = json.loads(Path(f"{table.path}/schema/schema-0").read_text())
    schema["id"] = 1
    schema["fields"][1]["name"] = "w"
    Path(f"{table.path}/schema/schema-1").write_text(json.dumps(schema))

    (part,) = table.changes(0, 1)

    assert part.rows.to_dict(as_series=False) == {"k": [1], "w": ["a"]}


@pytest.mark.parametrize("engine", ["partial-update", "aggregation", "first-row"])
def test_an_engine_without_a_producer_cannot_tell(engine: str, tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"merge-engine": engine})
    table.write(kv((1, "a")))

    with pytest.raises(UnsupportedFeature, match="set changelog-producer"):
        list(table.changes(0, 1))
    with pytest.raises(UnsupportedFeature, match="set changelog-producer"):
        list(table.follow())


def test_an_expired_snapshot_is_named_with_the_earliest(tmp_path: Path) -> None:
    table = keyed_table(tmp_path)
    for step in range(4):
        table.write(kv((step, "a")))
    table.expire(retain_max=1, retain_min=1)

    with pytest.raises(InvalidRequest, match="earliest=4") as raised:
        list(table.changes(0, 4))
    assert raised.value.context["snapshot_id"] == 1
    assert told(table.changes(3, 4)) == [(4, "+I", 3, "a")]


def test_a_long_lived_changelog_tells_what_its_snapshot_told(tmp_path: Path) -> None:
    options = {"changelog-producer": "input", "changelog.num-retained.max": "100"}
    table = keyed_table(tmp_path, options=options)
    for step in range(4):
        table.write(kv((step, "a")))
    before = changed(table)
    table.expire(retain_max=1, retain_min=1)
    assert table.handle.snapshots.earliest_id() == 4

    assert changed(table) == before
    assert follow(table, start="earliest") == before


def test_a_snapshot_that_is_not_there_yet_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no such snapshot, snapshot_id=1"):
        list(keyed_table(tmp_path).changes(0, 1))


def test_an_overwrite_tells_nothing_unless_the_table_says_it_must(tmp_path: Path) -> None:
    table = append_table(tmp_path, options={"deletion-vectors.enabled": "true"})
    table.write(pl.DataFrame({"n": [1, 2], "v": ["a", "b"]}))
    table.delete(pl.col("n") == 1)
    assert changed(table) == [(1, "+I", 1, "a"), (1, "+I", 2, "b")]

    path = Path(f"{table.path}/schema/schema-0")
    schema = json.loads(path.read_text())
    schema["options"]["streaming-read-overwrite"] = "true"
    path.write_text(json.dumps(schema))

    with pytest.raises(UnsupportedFeature, match="streaming-read-overwrite"):
        changed(table)


# --- following ------------------------------------------------------------------------------------


def follow(table: Table, consumer: str | None = None, **options: object) -> Told:
    """Everything until nothing comes any more."""
    return told(table.follow(consumer, idle_seconds=0, **options))  # type: ignore[arg-type]


def test_the_whole_table_comes_first_and_then_its_changes(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options=LOOKUP)
    table.write(kv((1, "a"), (2, "b")))
    table.compact("minor")
    followed = table.follow(idle_seconds=0)
    assert told(islice(followed, 1)) == [(2, "+I", 1, "a"), (2, "+I", 2, "b")]

    table.write(kv((1, "c")))
    table.compact("minor")

    assert told(followed) == [(4, "-U", 1, "a"), (4, "+U", 1, "c")]


def test_what_is_told_as_changes_later_is_not_told_before(tmp_path: Path) -> None:
    """Level 0 of a table with a lookup changelog belongs to the compaction to come."""
    table = keyed_table(tmp_path, options=LOOKUP)
    table.write(kv((1, "a")))
    table.compact("minor")
    table.write(kv((2, "b")))
    followed = table.follow(idle_seconds=0)
    first = told(islice(followed, 1))
    table.compact("minor")

    assert first == [(3, "+I", 1, "a")]
    assert told(followed) == [(4, "+I", 2, "b")]


@pytest.mark.parametrize("producer", ["none", "input"])
def test_level_0_is_told_first_where_no_compaction_will_tell_it(
    producer: str, tmp_path: Path
) -> None:
    """Batch reads do not see it yet, but its snapshot lies behind: nobody would ever tell it."""
    options = {"deletion-vectors.enabled": "true", "changelog-producer": producer}
    table = keyed_table(tmp_path, options=options)
    table.write(kv((1, "a"), (2, "b")))
    table.compact("full")
    table.write(kv((1, "c"), (3, "d")))
    assert rows_of(table) == [(1, "a"), (2, "b")]

    assert sorted(follow(table)) == [(3, "+I", 1, "c"), (3, "+I", 2, "b"), (3, "+I", 3, "d")]


def test_full_compaction_tells_the_top_level_first(tmp_path: Path) -> None:
    table = keyed_table(tmp_path, options={"changelog-producer": "full-compaction"})
    table.write(kv((1, "a")))
    table.compact("full")
    table.write(kv((1, "b")))
    followed = table.follow(idle_seconds=0)
    first = told(islice(followed, 1))
    table.compact("full")

    assert first == [(3, "+I", 1, "a")]
    assert told(followed) == [(4, "-U", 1, "a"), (4, "+U", 1, "b")]


def test_a_consumer_goes_on_where_it_was(tmp_path: Path) -> None:
    table = append_table(tmp_path)
    table.write(pl.DataFrame({"n": [1], "v": ["a"]}))
    assert follow(table, "job") == [(1, "+I", 1, "a")]
    table.write(pl.DataFrame({"n": [2], "v": ["b"]}))

    assert follow(table, "job") == [(2, "+I", 2, "b")]
    assert follow(table, "job") == []
    assert ConsumerStore(table.handle).next_snapshot("job") == 3


def test_rows_that_were_not_worked_off_come_again(tmp_path: Path) -> None:
    table = append_table(tmp_path)
    for n in range(3):
        table.write(pl.DataFrame({"n": [n], "v": ["a"]}))
    stream = table.follow("job", start="earliest")
    seen = [next(stream), next(stream)]  # the second is not worked off: nobody asks for a third
    del stream

    assert [part.snapshot_id for part in seen] == [1, 2]
    assert [row[2] for row in follow(table, "job")] == [1, 2]


def test_expiry_leaves_what_a_consumer_has_not_read(tmp_path: Path) -> None:
    table = append_table(tmp_path)
    table.write(pl.DataFrame({"n": [0], "v": ["a"]}))
    assert len(follow(table, "job")) == 1
    for n in range(1, 5):
        table.write(pl.DataFrame({"n": [n], "v": ["a"]}))

    table.expire(retain_max=1, retain_min=1)

    assert table.handle.snapshots.earliest_id() == 2
    assert [row[2] for row in follow(table, "job")] == [1, 2, 3, 4]
    table.expire(retain_max=1, retain_min=1)
    assert table.handle.snapshots.earliest_id() == 5


@pytest.mark.parametrize(
    ("start", "expected"), [("latest", [3, 4]), ("earliest", [0, 1, 2, 3, 4]), (2, [1, 2, 3, 4])]
)
def test_where_a_reader_starts(start: str | int, expected: list[int], tmp_path: Path) -> None:
    table = append_table(tmp_path)
    for n in range(3):
        table.write(pl.DataFrame({"n": [n], "v": ["a"]}))
    stream = told_later(table, start)

    assert [row[2] for row in stream] == expected


def told_later(table: Table, start: str | int) -> Told:
    """What a reader is told that begins now, two more snapshots included."""
    written = iter(range(3, 5))

    def writes(_seconds: float) -> None:
        n = next(written, None)
        if n is not None:
            reopened(table).write(pl.DataFrame({"n": [n], "v": ["a"]}))

    handle = table.handle
    waiting = Table(type(handle)(handle.name, handle.root, handle.storage, World(sleep=writes)))
    return told(waiting.follow(start=start, idle_seconds=3))  # type: ignore[arg-type]


def test_a_table_without_snapshots_is_waited_for(tmp_path: Path) -> None:
    table = append_table(tmp_path)

    assert [row[2] for row in told_later(table, "full")] == [3, 4]


def test_a_start_below_the_first_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="start at 1"):
        list(append_table(tmp_path).follow(start=0, idle_seconds=0))


def test_a_consumer_whose_snapshot_has_expired_is_told_so(tmp_path: Path) -> None:
    table = append_table(tmp_path)
    for n in range(3):
        table.write(pl.DataFrame({"n": [n], "v": ["a"]}))
    table.expire(retain_max=1, retain_min=1)
    ConsumerStore(table.handle).reset("job", 1)

    with pytest.raises(InvalidRequest, match="has expired"):
        follow(table, "job")


def test_a_consumer_of_a_table_made_anew_is_told_so(tmp_path: Path) -> None:
    table = append_table(tmp_path)
    table.write(pl.DataFrame({"n": [1], "v": ["a"]}))
    ConsumerStore(table.handle).reset("job", 9)

    with pytest.raises(InvalidRequest, match="reset the consumer"):
        follow(table, "job")


def test_a_delayed_reader_lets_snapshots_settle(tmp_path: Path) -> None:
    clock = ManualClock()
    table = append_table(tmp_path, options={"streaming.read.snapshot.delay": "10 s"}, clock=clock)
    table.write(pl.DataFrame({"n": [1], "v": ["a"]}))
    clock.advance(9)
    assert follow(table, start="earliest") == []

    clock.advance(2)

    assert follow(table, start="earliest") == [(1, "+I", 1, "a")]


def test_an_idle_consumer_is_not_taken_for_forgotten(tmp_path: Path) -> None:
    clock = ManualClock()
    table = append_table(tmp_path, clock=clock)
    table.write(pl.DataFrame({"n": [1], "v": ["a"]}))
    path = Path(f"{table.path}/consumer/consumer-job")
    fresh: list[bool] = []

    def passes(seconds: float) -> None:
        clock.advance(seconds)
        fresh.append(path.exists())
        path.unlink(missing_ok=True)

    store = table.handle.storage
    waiting = Table(
        type(table.handle)("db.t", table.path, store, World(now_millis=clock.now, sleep=passes))
    )
    list(waiting.follow("job", poll_seconds=20, idle_seconds=TOUCH_MILLIS / 1000 + 1))

    assert fresh == [True, False, False, True]


def test_the_schema_stays_the_one_of_the_beginning(tmp_path: Path) -> None:
    table = append_table(tmp_path)
    table.write(pl.DataFrame({"n": [1], "v": ["a"]}))
    stream = table.follow(idle_seconds=0)
    assert next(stream).rows.columns == ["n", "v"]
    schema = json.loads(Path(f"{table.path}/schema/schema-0").read_text())
    schema |= {"id": 1, "highestFieldId": 2}
    schema["fields"].append({"id": 2, "name": "w", "type": "INT"})
    Path(f"{table.path}/schema/schema-1").write_text(json.dumps(schema))

    catalog(tmp_path).table("db.t").write(pl.DataFrame({"n": [2], "v": ["b"], "w": [3]}))

    assert next(stream).rows.rows() == [(2, "b")]
