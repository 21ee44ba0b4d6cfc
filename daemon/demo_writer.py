"""The demo's writer, a process of its own: small keyed commits, and a log of what they held.

It knows nothing of the daemon and shares nothing with it but the table. Its log is what the demo's
proof believes, so every batch is on the device before its commit begins, and is acknowledged in the
log when the commit is done. One JSON object a line::

    {"batch": 3, "rows": [["+I", 17, "user-4", 1999, 1700000000000], …]}
    {"acknowledged": 3}
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TextIO

import polars as pl

from ..table.catalog import open_table

COLUMNS: Mapping[str, str] = {
    "event_id": "BIGINT NOT NULL",
    "user_name": "STRING",
    "amount_cents": "BIGINT",
    "changed_at_millis": "BIGINT",
}
PRIMARY_KEY = "event_id"
COMMIT_SECONDS = 1.0

FRAME_SCHEMA = {
    "event_id": pl.Int64(),
    "user_name": pl.String(),
    "amount_cents": pl.Int64(),
    "changed_at_millis": pl.Int64(),
}

Event = tuple[str, int, str | None, int | None, int | None]
"""Row kind, then the columns; a delete has its key alone."""


@dataclass(slots=True)
class Stream:
    """Events drawn by chance: mostly new keys, some updates and deletes of keys that live."""

    chance: random.Random
    live: list[int] = field(default_factory=list[int])
    next_key: int = 1

    def batch(self, now_millis: int) -> list[Event]:
        """One commit's events; no key twice."""
        events: list[Event] = []
        old = self.chance.sample(self.live, min(len(self.live), 60))
        gone = set(old[:15])
        for key in old:
            events.append(_delete(key) if key in gone else self._put("+U", key, now_millis))
        for _ in range(self.chance.randint(100, 200)):
            events.append(self._put("+I", self.next_key, now_millis))
            self.live.append(self.next_key)
            self.next_key += 1
        self.live = [key for key in self.live if key not in gone]
        self.chance.shuffle(events)
        return events

    def _put(self, kind: str, key: int, now_millis: int) -> Event:
        user = f"user-{self.chance.randint(1, 500)}"
        return kind, key, user, self.chance.randint(1, 100_000), now_millis


def _delete(key: int) -> Event:
    return "-D", key, None, None, None


class Log:
    """The writer's own record; a line is on the device when the call returns."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def sends(self, batch: int, rows: Sequence[Event]) -> None:
        """About to commit these."""
        self._line({"batch": batch, "rows": rows})

    def acknowledges(self, batch: int) -> None:
        """The commit is done."""
        self._line({"acknowledged": batch})

    def _line(self, record: Mapping[str, object]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def stream_events(path: str, log: Log, commits: int, seed: int) -> None:
    """Commit once a second, whatever the daemon does meanwhile."""
    table = open_table(path)
    stream = Stream(random.Random(seed))
    started = time.monotonic()
    for batch in range(commits):
        time.sleep(max(0.0, started + batch * COMMIT_SECONDS - time.monotonic()))
        events = stream.batch(time.time_ns() // 1_000_000)
        log.sends(batch, events)
        rows = pl.DataFrame([e[1:] for e in events], schema=FRAME_SCHEMA, orient="row")
        table.write(rows, kinds=pl.Series([e[0] for e in events]))
        log.acknowledges(batch)


def main() -> None:
    """What ``python -m desilt.daemon.demo_writer`` runs."""
    parser = argparse.ArgumentParser(prog="demo_writer")
    parser.add_argument("--table", required=True, help="path of the table")
    parser.add_argument("--log", required=True, help="file that is made for the log")
    parser.add_argument("--commits", type=int, required=True, help="how many, one a second")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with open(given.log, "x", encoding="utf-8") as file:
        stream_events(given.table, Log(file), given.commits, given.seed)


if __name__ == "__main__":
    main()
