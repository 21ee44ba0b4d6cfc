"""The demo's writer, a process of its own: small commits to every table, and a log of what they
held. It knows nothing of the daemon and shares nothing with it but the tables."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Sequence

import polars as pl

from ...table.catalog import Catalog
from ...table.table import Table
from .kinds import COMMIT_SECONDS, KINDS, Kind
from .log import Log
from .streams import Event


def write_all(warehouse: str, log: Log, commits: int, seed: int) -> None:
    """Commit to each table once a second, whatever the daemon does meanwhile."""
    catalog = Catalog(warehouse)
    streams = [
        (kind, catalog.table(kind.name), kind.stream(random.Random(f"{seed} {kind.name}")))
        for kind in KINDS
    ]
    started = time.monotonic()
    for batch in range(commits):
        time.sleep(max(0.0, started + batch * COMMIT_SECONDS - time.monotonic()))
        for kind, table, stream in streams:
            _commit(kind, table, log, batch, stream)


def _commit(
    kind: Kind, table: Table, log: Log, batch: int, stream: Iterator[Sequence[Event]]
) -> None:
    events = next(stream)
    log.sends(kind.name, batch, events)
    rows = pl.DataFrame([event[1:] for event in events], schema=kind.schema, orient="row")
    kinds = pl.Series([event[0] for event in events]) if kind.keyed else None
    table.write(rows, kinds=kinds)
    log.acknowledges(kind.name, batch)


def main() -> None:
    """What ``python -m desilt.daemon.demo.writer`` runs."""
    parser = argparse.ArgumentParser(prog="desilt-demo-writer")
    parser.add_argument("--warehouse", required=True, help="where the tables are")
    parser.add_argument("--log", required=True, help="file that is made for the log")
    parser.add_argument("--commits", type=int, required=True, help="how many, one a second")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with open(given.log, "x", encoding="utf-8") as file:
        write_all(given.warehouse, Log(file), given.commits, given.seed)


if __name__ == "__main__":
    main()
