"""House rules that no linter knows."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_root_holds_no_module_but_init() -> None:
    assert [p.name for p in ROOT.glob("*.py")] == ["__init__.py"]
