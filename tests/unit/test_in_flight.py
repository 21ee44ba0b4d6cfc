"""How many requests are kept in flight: the number that was there for half of the time."""

from __future__ import annotations

import pytest
from support.in_flight import kept_in_flight
from support.proxy import Seen
from support.proxy_faults import Request

GET = Request("GET", "/", {})


def seen(*spans: tuple[float, float]) -> list[Seen]:
    """By (when it came, seconds)."""
    return [Seen(GET, 200, begun, seconds, None) for begun, seconds in spans]


def test_a_moment_of_many_does_not_count() -> None:
    slowly = [(float(n), 1.5) for n in range(20)]
    burst = [(10.0, 0.1)] * 50
    assert kept_in_flight(seen(*slowly)) in (1, 2)
    assert kept_in_flight(seen(*slowly, *burst)) in (1, 2)


def test_those_that_end_when_nothing_is_left_to_ask_do_not_count() -> None:
    together = [(n / 100, 100.0 if n == 0 else 5.0) for n in range(100)]
    assert 45 <= kept_in_flight(seen(*together)) <= 55


def test_a_window_is_its_width() -> None:
    waves = [(wave + n / 1000, 1.0) for wave in range(5) for n in range(64)]
    assert kept_in_flight(seen(*waves)) == pytest.approx(64, abs=1)


@pytest.mark.parametrize("count", [0, 1])
def test_none_is_kept_of_fewer_than_two(count: int) -> None:
    assert kept_in_flight(seen(*[(0.0, 1.0)] * count)) == 0
