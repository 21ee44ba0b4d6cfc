"""What docs/table-options.md says of each option."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["DOCUMENT", "followed", "has_no_effect", "refused", "refused_for_expiry"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "table-options.md"
_KEY = re.compile(r"`([^`]+)`")


def _rows(section: str) -> list[list[str]]:
    """The cells of the section's table, without its head."""
    found = re.search(rf"^## {section}$(.*?)(?=^## |\Z)", DOCUMENT.read_text(), re.M | re.S)
    assert found, section
    lines = [line for line in found[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def followed() -> list[str]:
    """Options whose values desilt goes by; those of one column by what follows its name."""
    return [key for row in _rows("Followed") for key in _KEY.findall(row[1])]


def refused() -> Mapping[str, frozenset[str]]:
    """The accepted values of options with others of which a table is refused."""
    return {
        _KEY.findall(row[0])[0]: frozenset(v.strip() for v in row[1].split(",") if v != "–")
        for row in _rows("Refused")
    }


def refused_for_expiry() -> set[str]:
    return {_KEY.findall(row[0])[0] for row in _rows("Refused") if row[2] == "×"}


def has_no_effect() -> list[str]:
    return [key for row in _rows("Without effect") for key in _KEY.findall(row[1])]
