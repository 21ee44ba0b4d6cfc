"""Many requests at a time: in order, no further ahead than allowed, ended by the first error."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from random import Random

import pytest
from support.graphs import MAIN, Graph
from support.memory import MemoryStorage

from desilt.table.errors import FileMissing
from desilt.table.metadata import MetadataReader
from desilt.table.storage import LocalStorage, read_many, read_those_there, side_by_side
from desilt.table.storage.many import AHEAD, HELD_BYTES


@pytest.mark.parametrize("width", [1, 2, 7, 64])
@pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 100])
def test_answers_come_in_order(width: int, count: int) -> None:
    rng = Random(count)

    def ask(number: int) -> int:
        time.sleep(rng.random() / 1000)
        return number * 2

    assert list(side_by_side(ask, range(count), width)) == [n * 2 for n in range(count)]


def test_width_are_asked_at_a_time_and_no_more() -> None:
    asking, most, lock = 0, 0, threading.Lock()

    def ask(number: int) -> int:
        nonlocal asking, most
        with lock:
            asking += 1
            most = max(most, asking)
        time.sleep(0.01)
        with lock:
            asking -= 1
        return number

    started = time.monotonic()
    assert list(side_by_side(ask, range(40), 8)) == list(range(40))
    assert 2 <= most <= 8
    assert time.monotonic() - started < 0.4, "one after the other would take that long"


def test_nothing_is_asked_far_ahead_of_what_is_taken() -> None:
    asked: list[int] = []

    def ask(number: int) -> int:
        asked.append(number)
        return number

    answers = side_by_side(ask, range(1000), 4)
    assert next(answers) == 0
    del answers

    assert len(asked) <= 1 + 4 * AHEAD


def test_a_slow_first_answer_keeps_nobody_waiting() -> None:
    last, all_but_one = 2 * 4, threading.Event()  # far more than wait beside the first one

    def ask(number: int) -> int:
        if number == 0:
            assert all_but_one.wait(10), "the others are asked meanwhile"
        elif number == last:
            all_but_one.set()
        return number

    assert list(side_by_side(ask, range(100), 4)) == list(range(100))


@pytest.mark.parametrize(("size_bytes", "most"), [(HELD_BYTES // 3, 3), (HELD_BYTES * 2, 1)])
def test_large_answers_are_not_held_beyond_a_limit(size_bytes: int, most: int) -> None:
    asked, taken = list[int](), 0

    def ask(number: int) -> int:
        asked.append(number)
        return number

    for _ in side_by_side(ask, range(20), 8, lambda _: size_bytes):
        assert len(asked) - taken <= most
        taken += 1
    assert taken == 20


@pytest.mark.parametrize("width", [1, 4])
def test_the_first_error_in_order_ends_it(width: int) -> None:
    asked: list[int] = []

    def ask(number: int) -> int:
        asked.append(number)
        if number in (5, 7):
            raise ValueError(number)
        return number

    taken: list[int] = []
    with pytest.raises(ValueError, match="5"):
        taken.extend(side_by_side(ask, range(1000), width))
    assert taken == [0, 1, 2, 3, 4]
    assert len(asked) < 20


def test_without_latency_no_thread_is_made(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    names = [(f"{tmp_path}/{n}", 1) for n in "ab"]

    assert list(read_many(LocalStorage(), names)) == [b"1", b"2"]
    assert not any(t.name.startswith("desilt-ask") for t in threading.enumerate())


@pytest.mark.parametrize("in_flight", [1, 3])
def test_missing_files_are_an_error_or_none(in_flight: int) -> None:
    storage = MemoryStorage(lambda: 0, in_flight=in_flight)
    for name in "ac":
        storage.put(f"/x/{name}", name.encode())
    names = [(f"/x/{n}", 1) for n in "abc"]

    assert list(read_those_there(storage, names)) == [b"a", None, b"c"]
    with pytest.raises(FileMissing, match="/x/b"):
        list(read_many(storage, names))


def test_manifests_of_a_snapshot_are_read_many_at_a_time() -> None:
    graph = Graph(7)
    for _ in range(12):
        graph.append(MAIN)
    snapshot = graph.snapshot(MAIN, 13)
    one = MetadataReader(graph.handle).live(snapshot)
    graph.storage.in_flight = 5
    reader = MetadataReader(graph.handle)

    assert reader.live(snapshot).equals(one)
    graph.storage.files.pop("/w/db.db/t/manifest")
    assert reader.live(snapshot).equals(one), "each is read once"
