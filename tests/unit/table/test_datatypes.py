"""Column types: text, Arrow and Polars."""

from __future__ import annotations

from desilt.table.datatypes import parse_type, type_text


def test_type_text_round_trips() -> None:
    assert type_text(parse_type("DECIMAL(10, 2) NOT NULL")) == "DECIMAL(10, 2) NOT NULL"
