"""Durations and sizes; the bad ones are in config/*.bad.yaml."""

from __future__ import annotations

import pytest

from desilt.daemon.units import Duration, Size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("1d", 86400), (" 1.5 s ", 1.5)],
)
def test_parse_duration_gives_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 2**29), ("1GiB", 2**30), ("1.5KiB", 1536), ("7B", 7)]
)
def test_parse_size_gives_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "5", "-5s", "5 s s", "١s", "1e3s", "nan", "0B", "0.1B"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="bad"):
        parse_duration(text)
    with pytest.raises(ValueError, match="bad"):
        parse_size(text)


@pytest.mark.parametrize("seconds", [0.001, 0.25, 1, 90, 3600, 86400, 1.5])
def test_duration_is_written_as_it_is_read(seconds: float) -> None:
    assert parse_duration(str(Duration(seconds))) == pytest.approx(seconds)


@pytest.mark.parametrize("size", [1, 1000, 1024, 3 * 2**20, 2**40, 2**30 + 1])
def test_size_is_written_as_it_is_read(size: int) -> None:
    assert parse_size(str(Size(size))) == size
