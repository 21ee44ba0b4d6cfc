"""What must hold of an act that is one commit, whatever happens to it: it is done whole, or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator

from desilt.table.compact import sweep
from desilt.table.table import Table

from .builders import orphans
from .faulty import FaultyStorage
from .shelves import FAULTS, UUID, Shelf, possible

__all__ = ["check_whole_or_not"]

TASK = re.compile(rf"/(?:data|index|manifest)-(?:\w+-)?({UUID.pattern})-")
BUCKET = re.compile(r"^(?:/(.*))?/bucket-(\d+)/[^/]+$")

State = Callable[[Table], object]


def check_whole_or_not(
    shelf: Shelf,
    act: Callable[[Table], object],
    state: State,
    looks: Collection[str] = FAULTS,
) -> int:
    """Every answer of the act is true; what it leaves bears its id; who tries again gets it done.

    Args:
        state: what the act changes; done twice it is as done once.
        looks: what happens on the disk to calls that only ask.

    Returns: how often it was tried.
    """
    old, new, tried = state(shelf.look()), None, 0
    for trial in shelf.trials(lambda handle: act(Table(handle)), looks):
        tried += 1
        found = shelf.told(trial, state)
        if trial.fault is None:
            new = found
            assert new != old
        assert found in possible(trial, old, new), trial.what
        if trial.tidy:
            assert shelf.told(trial, orphans) == set(), f"{trial.what}: it was not tidied up"
        if trial.known or not trial.changed:
            continue
        for task, partition, bucket in _left(shelf.root, trial.store):
            sweep(shelf.handle, task, partition, bucket)
        swept = shelf.look()
        assert orphans(swept) == set(), trial.what
        assert state(swept) in possible(trial, old, new), f"{trial.what}: swept too much"
        act(shelf.table)
        assert state(shelf.look()) == new, f"{trial.what}: who tries again"
    return tried


def _left(root: str, store: FaultyStorage) -> Iterator[tuple[str, str, int]]:
    """(Task, partition, bucket) of whatever it may have written."""
    found: set[tuple[str, str, int]] = set()
    for path in (path.removeprefix(root) for path in store.made):
        if task := TASK.search(path):
            bucket = BUCKET.search(path)
            found.add((task[1], bucket[1] or "", int(bucket[2])) if bucket else (task[1], "", 0))
    yield from sorted(found)
