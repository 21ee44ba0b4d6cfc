"""What the demo's writer writes, drawn by chance: batch after batch, no key twice in one."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count
from typing import Any, TypeAlias

Event: TypeAlias = tuple[Any, ...]
"""Row kind, then the columns; a delete has its key alone."""

USERS, PRODUCTS = 500, 200
# So far behind are changes of a profile that come late; they must not win.
LATE = 801


def events(chance: random.Random) -> Iterator[list[Event]]:
    """Mostly new keys, some updates and deletes of keys that live."""
    live: list[int] = []
    numbers = count(1)
    while True:
        old = chance.sample(live, min(len(live), 60))
        gone, changed = old[:15], old[15:]
        new = [next(numbers) for _ in range(chance.randint(100, 200))]
        live = [key for key in live + new if key not in gone]
        batch = [
            *(("-D", key, None, None) for key in gone),
            *(("+U", key, *_amount(chance)) for key in changed),
            *(("+I", key, *_amount(chance)) for key in new),
        ]
        chance.shuffle(batch)
        yield batch


def profiles(chance: random.Random) -> Iterator[list[Event]]:
    """Users change their name or their city; one change of five comes late."""
    clock = count(1)
    while True:
        batch: list[Event] = []
        for user in chance.sample(range(1, USERS + 1), 60):
            at = 2 * next(clock) - (LATE if chance.random() < 0.2 else 0)  # no moment comes twice
            if chance.random() < 0.5:
                batch.append(("+I", user, f"name-{at}", at, None, None))
            else:
                batch.append(("+I", user, None, None, f"city-{at}", at))
        yield batch


def sales(chance: random.Random) -> Iterator[list[Event]]:
    """Units sold at a price, to somebody or to nobody known."""
    while True:
        yield [
            (
                *("+I", product, chance.randint(1, 9), chance.randint(100, 9_999)),
                chance.choice((None, _user(chance))),
            )
            for product in chance.sample(range(1, PRODUCTS + 1), 80)
        ]


def clicks(chance: random.Random) -> Iterator[list[Event]]:
    """New rows and nothing else."""
    numbers = count(1)
    while True:
        yield [
            ("+I", next(numbers), f"/page/{chance.randint(1, 50)}", _user(chance))
            for _ in range(chance.randint(100, 200))
        ]


def _amount(chance: random.Random) -> tuple[str, int]:
    return _user(chance), chance.randint(1, 100_000)


def _user(chance: random.Random) -> str:
    return f"user-{chance.randint(1, USERS)}"
