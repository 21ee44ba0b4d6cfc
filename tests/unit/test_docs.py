"""Documents say what is there."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_packaged_example_equals_the_documented_one() -> None:
    example = (ROOT / "examples/desilt.yaml").read_bytes()

    assert example == (ROOT / "daemon/desilt.yaml").read_bytes()
