"""Processes that race on one table: writers with keys of their own, and compactors.

Run as spawned processes; they return what they know by files, so that nothing is shared.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from desilt.table.catalog import open_table
from desilt.table.decision import Mode
from desilt.table.errors import CommitConflict
from desilt.table.handle import World
from desilt.table.storage import LocalStorage
from desilt.table.table import Table

from .builders import kv

KEYS = 8
"""Keys of one writer, from ``writer * 1000`` on; each commit rewrites three of them."""


def _open(root: str) -> Table:
    """Losers hardly wait here: the real back-off grows far beyond what this race lasts."""
    world = World(sleep=lambda seconds: time.sleep(min(seconds, 0.02)))
    return open_table(root, storage=LocalStorage(sync=False), world=world)


def write_and_log(root: str, writer: int, commits: int, log: str) -> None:
    """Commit again and again; afterwards ``log`` holds the acknowledged value of each key."""
    table = _open(root)
    known: dict[int, str] = {}
    for number in range(commits):
        rows = {
            writer * 1000 + (number * 3 + i) % KEYS: f"w{writer}-{number}-{i}" for i in range(3)
        }
        while True:
            try:
                table.write(kv(*rows.items()))
                break
            except CommitConflict:
                continue  # too many lost races: nothing was written
        time.sleep(0.03)  # writers that never pause leave compactors no gap to publish in
        known.update(rows)
        gone = writer * 1000 + number % KEYS
        if number % 5 == 4 and gone in known:
            table.delete(kv((gone, None)).select("k"))
            del known[gone]
    Path(log).write_text(json.dumps(known))


def compact_until(root: str, mode: Mode, stop: str, log: str) -> None:
    """Compact again and again until ``stop`` exists; ``log`` then holds commits and conflicts."""
    table = _open(root)
    commits = conflicts = 0
    while not Path(stop).exists():
        try:
            commits += len(table.compact(mode).buckets)
        except CommitConflict:
            conflicts += 1
        time.sleep(0.005)
    Path(log).write_text(json.dumps({"commits": commits, "conflicts": conflicts}))
