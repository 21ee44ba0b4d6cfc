"""Reading ahead and calls beside keep order and errors, and leave no thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from desilt.table.ahead import Beside, ahead


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


def test_calls_beside_run_in_order_and_one_at_a_time() -> None:
    running, most, done = 0, 0, list[int]()

    def call(number: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        done.append(number)
        running -= 1

    with Beside() as beside:
        for number in range(20):
            beside.do(call, number)

    assert done == list(range(20))
    assert most == 1


def test_the_caller_goes_on_while_a_call_runs_beside() -> None:
    caller_went_on = threading.Event()

    with Beside() as beside:
        beside.do(lambda: caller_went_on.wait(10) or pytest.fail("nobody went on"))
        caller_went_on.set()


@pytest.mark.parametrize("then", ["do", "wait", "leave"])
def test_what_a_call_beside_raises_is_raised_at_the_next_turn(then: str) -> None:
    def fail() -> None:
        raise KeyError("beside")

    with pytest.raises(KeyError, match="beside"), Beside() as beside:  # noqa: PT012
        beside.do(fail)
        if then == "do":
            beside.do(int)
        elif then == "wait":
            beside.wait()


def test_leaving_with_an_error_keeps_that_error_and_no_thread() -> None:
    before = threading.active_count()

    def fail() -> None:
        raise KeyError("beside")

    with pytest.raises(ValueError, match="first"), Beside() as beside:  # noqa: PT012
        beside.do(fail)
        raise ValueError("first")

    assert threading.active_count() == before
