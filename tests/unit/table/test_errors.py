"""Messages of errors."""

from __future__ import annotations

from desilt.table.errors import CorruptTable, first_line


def test_first_line_is_what_the_library_said_first() -> None:
    assert first_line(ValueError("bad\nand why")) == "bad"


def test_first_line_is_the_name_when_the_library_said_nothing() -> None:
    assert first_line(ValueError()) == "ValueError"


def test_context_follows_the_message_and_is_never_overwritten() -> None:
    error = CorruptTable("bad", file="f", key=None).at(file="g", table="db.t")

    assert str(error) == "bad, file=f, table=db.t"
