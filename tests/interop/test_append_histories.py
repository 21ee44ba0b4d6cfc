"""Append tables that desilt and Java write, delete from by vectors and pack, in random turns.

A failure prints the seed's steps; run that id again to see it again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from support.builders import orphans
from support.canonical import Json
from support.peer_streams import changes, delete_rows, index_files, pack, snapshot_files
from support.peers import Peer, PeerError

from desilt.table.catalog import open_table
from desilt.table.delete import Deletion
from desilt.table.table import Table

COLUMNS = {"n": "INT", "p": "INT", "v": "STRING"}
ACTORS = ("java", "desilt")
VERBS = {"writes": 4, "deletes": 4, "packs": 2, "packs fully": 1}
STEPS = 14
DOUBLED = "which is already in the the map"
"""Java's packing of buckets may delete and add one file in a commit, which it then refuses."""


class History:
    """Rows ``[n, p, v]`` with a number each, and what has become of them."""

    def __init__(self, seed: int, java: Peer, warehouse: Path) -> None:
        self.rng = random.Random(seed)
        self.java = java
        self.rows: dict[int, list[Json]] = {}
        self.told: list[int] = []
        self.log = [f"seed {seed}"]
        self.bucket = self.rng.choice(["-1", "1", "2"])
        self.path = java.create_table(
            warehouse, "t", COLUMNS, partition_keys=["p"], options=self._options()
        )

    def _options(self) -> dict[str, str]:
        made = {
            "bucket": self.bucket,
            "deletion-vectors.enabled": "true",
            "deletion-vectors.bitmap64": self.rng.choice(["true", "false"]),
            "deletion-vector.index-file.target-size": self.rng.choice(["1 b", "2 mb"]),
            "compaction.min.file-num": self.rng.choice(["2", "4"]),
        }
        if self.bucket != "-1":
            made["bucket-key"] = "n"
        self.log.append(str(made))
        return made

    @property
    def table(self) -> Table:
        return open_table(str(self.path))

    def step(self) -> None:
        actor = self.rng.choice(ACTORS)
        (verb,) = self.rng.choices(list(VERBS), list(VERBS.values()))
        self.log.append(f"{actor} {verb}")
        before = orphans(self.table)
        self._act(actor, verb)
        if actor == "desilt":
            assert orphans(self.table) == before, self

    def _act(self, actor: str, verb: str) -> None:
        if verb == "writes":
            self.write(actor)
        elif verb == "deletes":
            self._delete(actor)
        else:
            self._pack(actor, full=verb == "packs fully")

    def write(self, actor: str) -> None:
        count = self.rng.choice([1, 5, 20])
        first = len(self.told)
        rows: list[list[Json]] = [[first + i, self.rng.randrange(2), f"v{i}"] for i in range(count)]
        self.told += range(first, first + count)
        self.rows.update({first + i: row for i, row in enumerate(rows)})
        if actor == "java":
            self.java.insert(self.path, rows)
        else:
            schema = {"n": pl.Int32, "p": pl.Int32, "v": pl.String}
            self.table.write(pl.DataFrame(rows, schema=schema, orient="row"))

    def _delete(self, actor: str) -> None:
        by, rest = self.rng.choice([2, 3, 7]), self.rng.randrange(2)
        gone = {n for n in self.rows if n % by == rest}
        self.log.append(f"  n % {by} == {rest}: {sorted(gone)}")
        if actor == "desilt":
            done = self.table.delete(pl.col("n") % by == rest)
            assert (done.rows if isinstance(done, Deletion) else 0) == len(gone)
        elif gone:
            files = snapshot_files(self.java, self.path, "live", records=True)
            marks = {
                file["name"]: [
                    at for at, record in enumerate(file["records"]) if _number(record) in gone
                ]
                for file in files
            }
            delete_rows(self.java, self.path, {name: at for name, at in marks.items() if at})
        for n in gone:
            del self.rows[n]

    def _pack(self, actor: str, *, full: bool) -> None:
        if actor == "desilt":
            self.table.compact("full" if full else "minor", verify="full")
        elif self.bucket == "-1":
            if self.java.files(self.path):  # it fails where nothing is
                pack(self.java, self.path)
        else:
            try:
                self.java.compact(self.path, full=full)
            except PeerError as error:
                if DOUBLED not in str(error):
                    raise
                self.log.append("  and gives up")

    def check(self) -> None:
        wanted = sorted(map(str, self.rows.values()))
        ours = sorted(str(list(row)) for row in self.table.scan().collect().iter_rows())
        assert ours == wanted, self
        assert sorted(map(str, self.java.read(self.path)["rows"])) == wanted, self
        self._check_vectors()

    def _check_vectors(self) -> None:
        """No vector is left of a file that is gone, and none is there twice."""
        live = {file["name"] for file in self.java.files(self.path)}
        named = [
            name
            for entry in index_files(self.java, self.path)
            for name, at in entry["deleted"].items()
            if at
        ]
        assert len(named) == len(set(named)), self
        assert set(named) <= live, self

    def check_changes(self) -> None:
        """What was written is told, deletions and packings are not."""
        told = [row for one in changes(self.java, self.path) for row in one["rows"]]
        assert sorted(int(str(row[1])) for row in told) == self.told, self
        latest = self.table.handle.snapshots.latest_id() or 0
        ours = [n for part in self.table.changes(0, latest) for n in part.rows["n"].to_list()]
        assert sorted(ours) == self.told, self

    def __str__(self) -> str:
        return "\n".join(self.log)


def _number(record: Sequence[Json]) -> int:
    """The row's number, behind its kind and sequence."""
    return int(str(record[2]))


@pytest.mark.parametrize("seed", range(12 * int(os.environ.get("DESILT_HISTORIES", "1"))))
def test_rows_survive_until_they_are_deleted(java: Peer, tmp_path: Path, seed: int) -> None:
    history = History(seed, java, tmp_path)
    history.write("java")  # a table without rows is dull
    for _ in range(STEPS):
        history.step()
        history.check()
    history.check_changes()
