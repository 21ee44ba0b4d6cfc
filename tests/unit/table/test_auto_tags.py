"""Tags made automatically: periods and their names, the walk over snapshots, batches."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support import refs
from support.builders import ManualClock, keyed_table, reopened, upserts
from support.faulty import FaultyStorage, files_below
from support.twins import set_times

from desilt.table import paths
from desilt.table.errors import UnsupportedFeature
from desilt.table.option_values import OptionValues
from desilt.table.options_tags import TagOptions
from desilt.table.table import Table
from desilt.table.tagging.auto import apply_auto_tags, auto_tags, plan_auto_tags
from desilt.table.tagging.periods import Periods
from desilt.table.zones import parse_zone

HOUR = 3_600_000
NOON = int(datetime(2026, 3, 4, 12, tzinfo=UTC).timestamp() * 1000)
HOURLY = {
    "tag.automatic-creation": "process-time",
    "tag.creation-period": "hourly",
    "sink.process-time-zone": "UTC",
}


def periods(period: str, dashes: str = "with_dashes") -> Periods:
    raw = {"tag.creation-period": period, "tag.period-formatter": dashes}
    return Periods.of(TagOptions(OptionValues(raw)))


# --- periods --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("period", "dashes", "name"),
    [
        ("daily", "with_dashes", "2026-03-03"),
        ("daily", "without_dashes", "20260303"),
        ("daily", "without_dashes_and_spaces", "20260303"),
        ("hourly", "with_dashes", "2026-03-04 11"),
        ("hourly", "without_dashes", "20260304 11"),
        ("hourly", "without_dashes_and_spaces", "2026030411"),
        ("two-hours", "with_dashes", "2026-03-04 10"),
        ("two_hours", "without_dashes", "2026-03-04 10"),
    ],
)
def test_a_period_is_named_by_its_start(period: str, dashes: str, name: str) -> None:
    found = periods(period, dashes)
    start = found.finished_at(NOON + 59 * 60_000)

    assert found.name(start) == name
    assert found.start(name) == start


def test_a_length_of_its_own_has_names_to_the_minute() -> None:
    raw = {"tag.creation-period-duration": "15 min", "tag.creation-period": "hourly"}
    found = Periods.of(TagOptions(OptionValues(raw)))

    assert found.name(found.finished_at(NOON + 1)) == "202603041145"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("2026-03-04", True), ("2026-03-04 whatever", True), ("2026-02-30", False),
        ("2026-3-4", False), ("20260304", False), ("", False), ("x2026-03-04", False),
        ("２026-03-04", False),
    ],
)  # fmt: skip
def test_names_of_days(name: str, is_one: bool) -> None:
    assert (periods("daily").start(name) is not None) == is_one


def test_names_of_hours_are_looked_at_whole() -> None:
    assert periods("hourly").start("2026-03-04 11 or so") is None
    assert periods("hourly").start("2026-03-04 24") is None


@pytest.mark.parametrize(
    ("zone", "hours"),
    [
        ("UTC", 0), ("Z", 0), ("GMT-08:00", -8), ("UTC+5", 5), ("+05:30", 5.5), ("+0930", 9.5),
        ("Asia/Shanghai", 8), ("America/Los_Angeles", -8),
    ],
)  # fmt: skip
def test_time_zones_as_java_names_them(zone: str, hours: float) -> None:
    assert parse_zone(zone, "k").local_millis(NOON) - NOON == hours * HOUR


@pytest.mark.parametrize("zone", ["Nowhere/Town", "", "+25:00", "/etc/passwd"])
def test_an_unknown_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(UnsupportedFeature, match="unknown time zone, option=k"):
        parse_zone(zone, "k")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tag.automatic-creation", "sometimes"),
        ("tag.creation-period", "weekly"),
        ("tag.creation-delay", "1 d"),
        ("tag.creation-period-duration", "0 s"),
        ("tag.num-retained-max", "0"),
        ("sink.watermark-time-zone", "Nowhere"),
        ("tag.automatic-completion", "perhaps"),
    ],
)
def test_bad_options_are_refused_by_name(key: str, value: str) -> None:
    with pytest.raises(UnsupportedFeature, match=key.replace("period-duration", "delay")):
        TagOptions(OptionValues({"tag.automatic-creation": "watermark", key: value})).check()
    if key in ("tag.creation-delay", "tag.num-retained-max"):
        TagOptions(OptionValues({key: value})).check()  # nobody goes by it


# --- the walk -------------------------------------------------------------------------------------


def table_at(folder: Path, minutes: list[int], **more: str) -> Table:
    """A table with a snapshot committed so many minutes after noon, each, tagged hourly."""
    table = keyed_table(folder, options={**HOURLY, **more})
    for number in range(len(minutes)):
        table.write(upserts(1, f"v{number}-"))
    at(table, minutes)
    return table


def at(table: Table, minutes: list[int]) -> None:
    set_times(Path(table.path), {i + 1: NOON + m * 60_000 for i, m in enumerate(minutes)})


def tagged(table: Table) -> dict[str, int]:
    return {t.name.removeprefix("2026-03-04 "): t.snapshot.id for t in table.tags()}


def test_the_first_snapshot_behind_a_period_is_tagged_under_its_name(tmp_path: Path) -> None:
    table = table_at(tmp_path, [0, 30, 59, 60, 61, 200, 210])
    plan = plan_auto_tags(table.handle)
    told = json.loads(json.dumps(plan.as_dict()))
    assert [(t["tag"][-2:], t["snapshot_id"]) for t in told["made"]] == [
        ("11", 1), ("12", 4), ("14", 6),
    ]  # fmt: skip
    made = apply_auto_tags(plan, table.handle)

    assert len(made.made) == 3
    assert tagged(table) == {"11": 1, "12": 4, "14": 6}
    assert plan_auto_tags(table.handle).empty
    assert auto_tags(table.handle).made == ()


def test_the_walk_goes_on_behind_the_newest_tag(tmp_path: Path) -> None:
    table = table_at(tmp_path, [0, 60])
    auto_tags(table.handle)
    for number in range(3):
        table.write(upserts(1, f"w{number}-"))
    at(table, [0, 60, 70, 119, 120])
    table.create_tag("2026-03-04")  # of a day: no period of this table

    assert [t.name for t in plan_auto_tags(table.handle).made] == ["2026-03-04 13"]


def test_late_data_is_waited_for(tmp_path: Path) -> None:
    table = table_at(tmp_path, [0, 60, 64, 65], **{"tag.creation-delay": "5 min"})
    auto_tags(table.handle)
    assert tagged(table) == {"11": 1, "12": 4}


def test_periods_without_snapshots_are_completed(tmp_path: Path) -> None:
    table = table_at(tmp_path, [0, 200, 201, 202], **{"tag.automatic-completion": "true"})
    auto_tags(table.handle)
    assert tagged(table) == {"11": 1, "12": 2, "13": 3, "14": 4}


def test_so_many_stay_and_others_are_not_counted(tmp_path: Path) -> None:
    table = table_at(tmp_path, [0, 60, 120, 180], **{"tag.num-retained-max": "2"})
    table.create_tag("mine", snapshot_id=1)
    assert plan_auto_tags(table.handle).trimmed == ()
    auto_tags(table.handle)
    assert tagged(table) == {"mine": 1, "13": 3, "14": 4}
    table.write(upserts(1, "w"))
    at(table, [0, 60, 120, 180, 240])
    assert plan_auto_tags(table.handle).trimmed == ("2026-03-04 13",)
    result = auto_tags(table.handle)

    assert result.deleted is not None
    assert result.deleted.names == ("2026-03-04 13",)
    assert tagged(table) == {"mine": 1, "14": 4, "15": 5}


def test_expired_snapshots_are_passed_over(tmp_path: Path) -> None:
    table = table_at(tmp_path, [0, 60, 120, 180])
    table.create_tag("2026-03-04 11", snapshot_id=1)
    table.expire(retain_max=2, retain_min=2, retain_age=timedelta())
    auto_tags(table.handle)
    assert tagged(table) == {"11": 1, "13": 3, "14": 4}


def test_a_retention_and_success_files_come_with_them(tmp_path: Path) -> None:
    table = table_at(
        tmp_path, [0], **{"tag.default-time-retained": "3 d", "tag.create-success-file": "true"}
    )
    auto_tags(table.handle)

    assert table.tags()[0].retained == timedelta(days=3)
    assert Path(table.path, "tag", "tag-success-file", "2026-03-04 11_SUCCESS").exists()


def test_watermarks_decide_where_the_option_says_so(tmp_path: Path) -> None:
    table = table_at(
        tmp_path, [0, 60, 120, 180],
        **{"tag.automatic-creation": "watermark", "sink.watermark-time-zone": "UTC+1"},
    )  # fmt: skip
    for snapshot, watermark in ((2, -(2**63)), (3, NOON + 5 * HOUR), (4, NOON + 6 * HOUR - 1)):
        file = Path(paths.snapshot_file(table.path, snapshot))
        file.write_text(json.dumps({**json.loads(file.read_text()), "watermark": watermark}))
    auto_tags(table.handle)
    assert tagged(table) == {"17": 3}


def test_a_watermark_behind_the_calendar_is_no_time(tmp_path: Path) -> None:
    """Some jobs leave the greatest number there is when a stream ends."""
    table = table_at(tmp_path, [0, 1], **{"tag.automatic-creation": "watermark"})
    for snapshot_id, watermark in ((1, NOON), (2, 2**63 - 1)):
        path = Path(paths.snapshot_file(table.path, snapshot_id))
        path.write_text(json.dumps({**json.loads(path.read_text()), "watermark": watermark}))

    assert auto_tags(reopened(table).handle).made == ("2026-03-04 11",)


def test_none_are_made_unless_asked_for(tmp_path: Path) -> None:
    table = table_at(tmp_path, [0, 60], **{"tag.automatic-creation": "none"})
    assert plan_auto_tags(table.handle).empty
    made = auto_tags(table.handle, {"tag.automatic-creation": "process-time"})
    assert made.made == ("2026-03-04 11", "2026-03-04 12")


def test_one_that_somebody_made_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    table = table_at(tmp_path, [0, 60])
    plan = plan_auto_tags(table.handle)
    auto_tags(table.handle)
    before = {p: Path(p).read_bytes() for p in files_below(table.path)}

    assert apply_auto_tags(plan, table.handle).made == ()
    assert {p: Path(p).read_bytes() for p in files_below(table.path)} == before


def test_a_look_costs_little_where_nothing_is_due(tmp_path: Path) -> None:
    table = table_at(tmp_path, [0, *range(60, 100)])
    auto_tags(table.handle)
    storage = FaultyStorage()
    assert plan_auto_tags(reopened(table, storage).handle).empty
    assert storage.count("read", "/snapshot/snapshot-") == 2  # the latest, and that none follows
    assert storage.count("read", "/tag/") == 1


# --- batches --------------------------------------------------------------------------------------

BATCH = {"tag.automatic-creation": "batch", "sink.process-time-zone": "UTC"}


def batches(folder: Path, **more: str) -> Table:
    """Two batch writes and a compaction on the fourth of March, a streaming write on the fifth."""
    clock = ManualClock(NOON)
    table = keyed_table(folder, clock=clock, options={**BATCH, **more})
    for number in range(2):
        table.write(upserts(2, f"v{number}-"))
        clock.advance(60)
    table.compact("full")
    clock.advance(24 * 3600)
    table.write(upserts(1, "s"), user="job", identifier=7)
    return table


def test_the_last_batch_of_a_day_has_its_name(tmp_path: Path) -> None:
    table = batches(tmp_path)
    assert auto_tags(table.handle).made == ("batch-write-2026-03-04",)
    assert tagged(table) == {"batch-write-2026-03-04": 2}
    assert plan_auto_tags(table.handle).empty


def test_a_later_batch_of_the_day_takes_the_name_over(tmp_path: Path) -> None:
    table = batches(tmp_path)
    refs.create_tag(table, "batch-write-2026-03-04", 1)
    plan = plan_auto_tags(table.handle)
    assert plan.replaced == {"batch-write-2026-03-04"}
    auto_tags(table.handle)
    assert tagged(table) == {"batch-write-2026-03-04": 2}


def test_who_waits_for_a_batch_is_told_of_a_later_one(tmp_path: Path) -> None:
    table = batches(tmp_path, **{"tag.create-success-file": "true"})
    told = Path(table.path, "tag", "tag-success-file", "batch-write-2026-03-04_SUCCESS")
    refs.create_tag(table, "batch-write-2026-03-04", 1)
    auto_tags(table.handle)

    assert tagged(table) == {"batch-write-2026-03-04": 2}
    assert json.loads(told.read_text())["modificationTime"] == table.handle.world.now_millis()


def test_every_day_since_the_newest_tag_gets_one(tmp_path: Path) -> None:
    table = batches(tmp_path, **{"tag.num-retained-max": "2"})
    refs.create_tag(table, "batch-write-2026-03-03", 1)
    clock = ManualClock(NOON + 48 * HOUR)
    for _ in range(2):
        reopened(table, clock=clock).write(upserts(1, "later"))
        clock.advance(24 * 3600)
    auto_tags(table.handle)
    assert tagged(table) == {"batch-write-2026-03-06": 5, "batch-write-2026-03-07": 6}


def test_a_batch_s_tag_may_have_a_name_of_its_own(tmp_path: Path) -> None:
    table = batches(tmp_path, **{"tag.batch.customized-name": "newest"})
    auto_tags(table.handle)
    assert tagged(table) == {"newest": 2}
    table.write(upserts(1, "later"))
    auto_tags(table.handle)
    assert tagged(table) == {"newest": 5}
    assert plan_auto_tags(table.handle).empty
