"""Reading ahead keeps order and errors, and leaves no thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from desilt.table.ahead import ahead


def _threads() -> int:
    return sum(t.name.startswith("ahead") for t in threading.enumerate())


def test_ahead_yields_the_same_items_in_order() -> None:
    """Also none at all."""
    assert list(ahead(iter(range(50)))) == list(range(50))
    assert list(ahead(iter(()))) == []


def test_ahead_raises_what_the_items_raise_at_their_turn() -> None:
    """What came before the error is still handed out."""

    def items() -> Iterator[int]:
        yield 1
        raise KeyError("second")

    read = ahead(items())

    assert next(read) == 1
    with pytest.raises(KeyError, match="second"):
        next(read)


def test_ahead_computes_one_item_while_the_last_is_used() -> None:
    """The second item is made although only the first was asked for."""
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    with closing(ahead(items())) as read:
        assert next(read) == 1
        assert made.wait(10)


def test_ahead_leaves_no_thread_when_it_is_closed_early() -> None:
    """A rewrite that fails must not go on reading behind its own back."""
    before = _threads()
    with closing(ahead(iter(range(50)))) as read:
        next(read)

    assert _threads() == before
