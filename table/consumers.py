"""Consumers: streaming readers that left a note of the next snapshot they will read.

Spec: format §14; reference class ``consumer/ConsumerManager``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from . import paths
from .errors import CorruptTable, FileMissing, InvalidRequest
from .handle import TableHandle
from .settled import read_settled

PREFIX = "consumer-"


@dataclass(frozen=True, slots=True)
class Consumer:
    """``next_snapshot``: what it reads next, and all after it; ``modified_millis``: epoch time."""

    name: str
    next_snapshot: int
    modified_millis: int


class ConsumerStore:
    """Consumers of one table's main branch."""

    def __init__(self, handle: TableHandle) -> None:
        self._handle = handle

    def all(self) -> tuple[Consumer, ...]:
        """By name.

        Raises:
            CorruptTable: one that cannot be read, by its file.
        """
        listed = self._handle.storage.list(paths.consumer_dir(self._handle.root))
        found: list[Consumer] = []
        for status in listed:
            name = status.name.removeprefix(PREFIX)
            if not status.name.startswith(PREFIX) or status.is_dir:
                continue
            following = self.next_snapshot(name)
            if following is not None:
                found.append(Consumer(name, following, status.modified_millis))
        return tuple(found)

    def next_snapshot(self, name: str) -> int | None:
        """What the consumer reads next; None when there is no such consumer."""
        try:
            return read_settled(self._handle, self._path(name), _load)
        except FileMissing:
            return None

    def reset(self, name: str, next_snapshot: int) -> None:
        """Make the consumer, or put it anywhere, backwards too."""
        if next_snapshot < 1:
            raise InvalidRequest("snapshot ids start at 1", consumer=name, next=next_snapshot)
        content = json.dumps({"nextSnapshot": next_snapshot}, indent=2).encode()
        self._handle.storage.overwrite(self._path(name), content)

    def advance(self, name: str, next_snapshot: int) -> None:
        """Move it forward: what it has read is no longer held for it.

        Raises:
            InvalidRequest: it is further on already; `reset` moves it back.
        """
        known = self.next_snapshot(name)
        if known is not None and known > next_snapshot:
            raise InvalidRequest(
                "a consumer advances", consumer=name, next=next_snapshot, known=known
            )
        self.reset(name, next_snapshot)

    def delete(self, names: Sequence[str]) -> None:
        """Forget these; missing ones are fine."""
        self._handle.storage.delete([self._path(name) for name in names])

    def _path(self, name: str) -> str:
        if not name or any(c in name for c in "/\\\0"):
            raise InvalidRequest("not a consumer's name", consumer=repr(name))
        return paths.consumer_file(self._handle.root, name)


def expired(
    consumers: Sequence[Consumer], age_millis: int | None, now: int
) -> tuple[Consumer, ...]:
    """Those that were last written longer than ``age_millis`` ago; () when that is None."""
    if age_millis is None:
        return ()
    return tuple(c for c in consumers if c.modified_millis < now - age_millis)


def chosen(
    consumers: Sequence[Consumer], include: str | None, exclude: str | None = None
) -> tuple[Consumer, ...]:
    """Those whose whole name fits the first regular expression and not the second.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        wanted = re.compile(".*" if include is None else include)
        spared = None if exclude is None else re.compile(exclude)
    except re.error as error:
        raise InvalidRequest("not a regular expression", reason=str(error)) from error
    found = (c for c in consumers if wanted.fullmatch(c.name))
    return tuple(c for c in found if spared is None or not spared.fullmatch(c.name))


def forget(handle: TableHandle, planned: Sequence[Consumer]) -> tuple[Consumer, ...]:
    """Forget these, but none that moved since it was looked at; those that were forgotten."""
    store = ConsumerStore(handle)
    wanted = set(planned)
    gone = tuple(c for c in store.all() if c in wanted) if wanted else ()
    store.delete([c.name for c in gone])
    return gone


def _load(data: bytes, path: str) -> int:
    try:
        return int(json.loads(data)["nextSnapshot"])
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise CorruptTable("consumer is not readable", reason=str(error), file=path) from error
