"""Texts as local times. That Java reads the same is tests/interop/test_partitions_peer.py."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from desilt.table.errors import UnsupportedFeature
from desilt.table.java_time import DEFAULT_FORMAT, TimeFormat, days_from_civil


def told(moment: int | None) -> str | None:
    if moment is None:
        return None
    micros, rest = divmod(moment, 1000)
    text = (datetime(1970, 1, 1) + timedelta(microseconds=micros)).isoformat()  # noqa: DTZ001
    return text + (f"+{rest}ns" if rest else "")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-02-03", "2024-02-03T00:00:00"),
        ("2024-2-3", "2024-02-03T00:00:00"),
        ("2024-02-03 04:05:06", "2024-02-03T04:05:06"),
        ("2024-02-03 4:5:6.7", "2024-02-03T04:05:06.700000"),
        ("2024-02-03 04:05:06.123456789", "2024-02-03T04:05:06.123456+789ns"),
        ("2024-13-01", "2025-01-01T00:00:00"),  # runs over
        ("2024-02-31", "2024-03-02T00:00:00"),
        ("2024-01-01 25:61:61", "2024-01-02T02:02:01"),
        ("2024-01-01 -1:00:00", "2023-12-31T23:00:00"),
        ("2024-01-01 10", None),
        ("2024-01-01 10:00:00.", None),
        ("2024-01-01T10:00:00", None),
        (" 2024-01-01", None),
        ("20240101", None),
        ("2024-01", None),
        ("+2024-01-01", None),
        ("-0-01-01", None),
        ("9999999999-01-01", None),
        ("", None),
        ("__DEFAULT_PARTITION__", None),
    ],
)
def test_without_a_pattern(text: str, moment: str | None) -> None:
    assert told(DEFAULT_FORMAT.moment(text)) == moment


@pytest.mark.parametrize(
    ("pattern", "text", "moment"),
    [
        ("yyyyMMdd", "20240203", "2024-02-03T00:00:00"),
        ("yyyyMMdd", "2024023", None),
        ("yyyyMMdd", "20240230", "2024-02-29T00:00:00"),  # the last day of the month
        ("yyyyMMdd", "20240132", None),
        ("yyyyMMdd", "20241301", None),
        ("yyyyMMddHH", "2024020324", "2024-02-04T00:00:00"),
        ("yyyyMMddHHmm", "202402032401", None),
        ("yyyyMMddHHmmssSSS", "20240203040506789", "2024-02-03T04:05:06.789000"),
        ("yyMMdd", "240203", "2024-02-03T00:00:00"),
        ("yyyy-MM-dd'T'HH", "2024-02-03T04", "2024-02-03T04:00:00"),
        ("yyyy''MM''dd", "2024'02'03", "2024-02-03T00:00:00"),
        ("yyyyMMdd[ HH]", "20240203", "2024-02-03T00:00:00"),
        ("yyyyMMdd[ HH]", "20240203 04", "2024-02-03T04:00:00"),
        ("yyyyMMdd[ HH]", "20240203 4", None),
        ("yyyy-M-d", "+12024-2-3", None),  # checked below: beyond Python's calendar
        ("yyyyMMdd", "00000101", None),  # there is no year 0 of an era
        ("HH:mm", "04:05", None),
        ("yyyy-MM", "2024-02", None),
        ("yyyyMMdd yyyy", "20240203 2025", None),
    ],
)
def test_with_a_pattern(pattern: str, text: str, moment: str | None) -> None:
    found = TimeFormat.of(pattern, "o").moment(text)

    if text.startswith("+12024"):
        assert found == days_from_civil(12024, 2, 3) * 86_400_000_000_000
    else:
        assert told(found) == moment


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("yyyy-MM-dd hh", "letter h"), ("EEE yyyy", "letter E"), ("YYYY-ww", "letter Y"),
        ("yyyyDDD", "letter D"), ("yyyy-MMM-dd", "MMM has too many letters"),
        ("yyyy ddd", "ddd has too many letters"), ("SSSSSSSSSS", "too many"), ("yyyy#", "#"),
        ("yyyy]", "]"), ("yyyy'T", "'"), ("ppyyyy", "letter p"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_refused_by_name(pattern: str, what: str) -> None:
    with pytest.raises(UnsupportedFeature) as caught:
        TimeFormat.of(pattern, "partition.timestamp-formatter")

    assert what in str(caught.value)
    assert caught.value.context == {"option": "partition.timestamp-formatter", "value": pattern}


def test_days_are_those_of_the_calendar() -> None:
    first = date(1, 1, 1).toordinal()
    unix = date(1970, 1, 1).toordinal()
    for ordinal in range(first, date(9999, 12, 31).toordinal(), 97):
        day = date.fromordinal(ordinal)
        assert days_from_civil(day.year, day.month, day.day) == ordinal - unix
