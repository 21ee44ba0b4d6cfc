"""How long snapshots stay: durations, options, and what is put in their place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.builders import keyed_table

from desilt.table.duration import parse_duration
from desilt.table.errors import InvalidRequest, UnsupportedFeature
from desilt.table.options import TableOptions
from desilt.table.options_expiry import RETAIN_MAX, ExpiryOptions
from desilt.table.retention import Bounds, Override, Retention, check_expirable, retention_of

HOUR = 3_600_000


def options(given: dict[str, str] | None = None) -> ExpiryOptions:
    return TableOptions(given or {}, keyed=True).expiry


def retained(given: dict[str, str] | None = None, override: Override | None = None) -> Retention:
    return retention_of(options(given), override)


# --- durations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("0", 0), ("1500", 1500), ("500ms", 500), ("3 s", 3000), ("2 sec", 2000),
        ("1 SECONDS", 1000),
        ("10 min", 600_000), ("5m", 300_000), ("1 minutes", 60_000), ("1 h", HOUR),
        ("  2   hours ", 2 * HOUR), ("1d", 24 * HOUR), ("7 days", 7 * 24 * HOUR),
        ("1999 µs", 1), ("2500 micros", 2), ("999999 ns", 0), ("1000000 nanoseconds", 1),
    ],
)  # fmt: skip
def test_duration_is(text: str, millis: int) -> None:
    assert parse_duration(text, "k") == millis


@pytest.mark.parametrize(
    "text", ["", "h", "1 x", "1.5 h", "-1 h", "1 h 2", "1 mins", "1 hs", "PT1H", "１ h"]
)
def test_a_bad_duration_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(UnsupportedFeature, match="no duration, option=the-key"):
        parse_duration(text, "the-key")


@pytest.mark.parametrize("text", [f"{2**63}", f"{2**62} d"])
def test_a_duration_longer_than_java_counts_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedFeature, match="too long a duration, option=the-key"):
        parse_duration(text, "the-key")


# --- options ------------------------------------------------------------------------------------


def test_defaults_are_those_of_paimon() -> None:
    assert retained() == Retention(
        snapshots=Bounds(10, RETAIN_MAX, HOUR),
        changelogs=None,
        limit=50,
        produces_changelog=False,
        consumer_millis=None,
        consumers_hold_snapshots=True,
        clean_directories=False,
    )


def test_options_are_taken_at_their_word() -> None:
    found = retained(
        {
            "snapshot.num-retained.min": "3", "snapshot.num-retained.max": "7",
            "snapshot.time-retained": "2 h", "snapshot.expire.limit": "5",
            "changelog-producer": "input", "consumer.expiration-time": "1 d",
            "consumer.changelog-only": "true", "snapshot.clean-empty-directories": "true",
            "snapshot.expire.execution-mode": "ASYNC",
        }
    )  # fmt: skip

    assert found == Retention(
        Bounds(3, 7, 2 * HOUR), None, 5, True, 24 * HOUR, False, clean_directories=True
    )


def test_the_older_name_of_an_option_counts_where_the_newer_is_absent() -> None:
    older = {"snapshot.expire.clean-empty-directories": "true"}

    assert options(older).clean_directories
    assert not options({**older, "snapshot.clean-empty-directories": "false"}).clean_directories


@pytest.mark.parametrize(
    ("changelog", "bounds"),
    [
        ({"changelog.num-retained.max": "9"}, Bounds(2, 9, HOUR)),
        ({"changelog.num-retained.min": "4"}, Bounds(4, 5, HOUR)),
        ({"changelog.num-retained.min": "8"}, Bounds(8, 8, HOUR)),
        ({"changelog.time-retained": "2 h"}, Bounds(2, 5, 2 * HOUR)),
        ({"changelog.time-retained": "1 min"}, None),
        ({"changelog.num-retained.min": "2", "changelog.num-retained.max": "5"}, None),
    ],
)
def test_changelogs_live_longer_when_any_of_their_bounds_is_wider(
    changelog: dict[str, str], bounds: Bounds | None
) -> None:
    snapshots = {"snapshot.num-retained.min": "2", "snapshot.num-retained.max": "5"}

    assert retained({**snapshots, **changelog}).changelogs == bounds


def test_what_a_table_promised_readers_of_changes_holds_under_an_override() -> None:
    """Keeping snapshots longer for once does not throw away the changelogs that go with others."""
    own = {"snapshot.time-retained": "1 h", "changelog.time-retained": "5 h"}
    found = retained(own, Override(retain_millis=10 * HOUR))

    assert found.snapshots.millis == 10 * HOUR
    assert found.changelogs == Bounds(10, RETAIN_MAX, 5 * HOUR)


def test_an_override_that_keeps_less_decouples_nothing() -> None:
    assert retained({}, Override(1, 1, 0)).changelogs is None


@pytest.mark.parametrize(
    ("override", "bounds"),
    [
        (Override(), Bounds(10, 20, HOUR)),
        (Override(retain_min=5), Bounds(5, 20, HOUR)),
        (Override(retain_max=15), Bounds(10, 15, HOUR)),
        (Override(retain_max=4), Bounds(4, 4, HOUR)),
        (Override(retain_min=30), Bounds(30, 30, HOUR)),
        (Override(2, 3, 0), Bounds(2, 3, 0)),
    ],
)
def test_an_override_takes_the_place_of_options(override: Override, bounds: Bounds) -> None:
    own = {"snapshot.num-retained.min": "10", "snapshot.num-retained.max": "20"}

    assert retained(own, override).snapshots == bounds


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ((0, None, None), "retain-min is too small, value=0"),
        ((None, 0, None), "retain-max is too small, value=0"),
        ((None, None, -1), "retain-age is too small, value=-1"),
        ((3, 2, None), "retain-min exceeds retain-max, min=3, max=2"),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(
    given: tuple[int | None, int | None, int | None], complaint: str
) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        Override(*given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"snapshot.num-retained.min": "0"}, "snapshot.num-retained.min, value=0"),
        ({"snapshot.num-retained.max": "5"}, "snapshot.num-retained.max, value=5, min=10"),
        ({"changelog.num-retained.min": "0"}, "changelog.num-retained.min, value=0"),
        (
            {"changelog.num-retained.min": "9", "changelog.num-retained.max": "8"},
            "changelog.num-retained.max, value=8, min=9",
        ),
    ],
)
def test_bounds_that_contradict_each_other_are_refused(given: dict[str, str], named: str) -> None:
    with pytest.raises(UnsupportedFeature, match=f"option={named}"):
        retained(given)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("snapshot.num-retained.min", "some"), ("snapshot.time-retained", "ages"),
        ("changelog.num-retained.max", "many"), ("changelog.time-retained", "1 age"),
        ("snapshot.expire.limit", "0"), ("snapshot.expire.execution-mode", "later"),
        ("consumer.expiration-time", "never"), ("consumer.changelog-only", "maybe"),
        ("snapshot.clean-empty-directories", "often"),
        ("data-file.external-paths", "/elsewhere"), ("global-index.external-path", "/elsewhere"),
        ("data-file.path-directory", "rows"), ("index-file-in-data-file-dir", "true"),
        ("data-evolution.enabled", "true"), ("chain-table.enabled", "true"),
        ("metadata.iceberg.storage", "table-location"), ("type", "format-table"),
    ],
)  # fmt: skip
def test_an_option_that_expiry_does_not_understand_is_refused_by_name(
    tmp_path: Path, key: str, value: str
) -> None:
    schema = keyed_table(tmp_path).schema

    with pytest.raises(UnsupportedFeature, match=f"option={key}, value={value}"):
        check_expirable(replace(schema, raw_options={**schema.raw_options, key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("merge-engine", "aggregation"), ("changelog-producer", "lookup"), ("bucket", "-2"),
        ("deletion-vectors.enabled", "true"), ("file.format", "orc"),
        ("record-level.expire-time", "1 d"), ("fields.v.aggregate-function", "sum"),
    ],
)  # fmt: skip
def test_expiry_asks_nothing_about_rows(tmp_path: Path, key: str, value: str) -> None:
    schema = keyed_table(tmp_path).schema

    check_expirable(replace(schema, raw_options={**schema.raw_options, key: value}))
