"""Expiry against a model: whatever happened to a table, what stays is whole and what goes is gone.

Small real tables live through random histories of writes, compactions, rollbacks, tags, branches
and consumers; after every expiry a brute-force look at all files says whether it was right.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import refs
from support.builders import ManualClock, keyed_table, kv, rows_of
from support.reachable import names_below, needed_by_all

from desilt.table.table import Table

T = TypeVar("T")

# How often each happens, of a hundred.
ACTS = {
    "write": 24, "compact": 15, "tag": 8, "untag": 5, "branch": 8, "branch write": 9,
    "branch compact": 5, "drop branch": 2, "consumer": 2, "rollback": 6, "wait": 4, "expire": 14,
}  # fmt: skip
SLOW = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a seed does not shrink
    suppress_health_check=[HealthCheck.too_slow],
)


OPTIONS = {"manifest.merge-min-count": "3", "snapshot.time-retained": "5 min"}


@dataclass
class Story:
    """One table and what happens to it."""

    folder: Path
    rng: Random
    clock: ManualClock = field(default_factory=ManualClock)
    count: int = 0
    rows: dict[bytes, list[tuple[object, ...]]] = field(default_factory=dict[bytes, Any])

    def __post_init__(self) -> None:
        self.table = keyed_table(self.folder, clock=self.clock, options=OPTIONS)
        self.table.write(kv((0, "first")))

    def act(self, what: str) -> None:
        self.count += 1
        self.clock.advance(60)
        match what:
            case "write":
                self.write(self.table)
            case "compact":
                self.table.compact("full")
            case "tag":
                refs.create_tag(self.table, f"t{self.count}", self.some(self.snapshots))
            case "untag" if self.tags:
                refs.delete_tag(self.table, self.some(self.tags))
            case "branch":
                tag = f"of-b{self.count}"
                refs.create_tag(self.table, tag, self.snapshots[-1])
                refs.create_branch(self.table, f"b{self.count}", tag)
                if self.rng.random() < 0.8:  # the branch lives on without it
                    refs.delete_tag(self.table, tag)
            case "branch write" if self.branches:
                self.write(refs.on_branch(self.table, self.some(self.branches), self.clock))
            case "branch compact" if self.branches:
                refs.on_branch(self.table, self.some(self.branches), self.clock).compact("full")
            case "drop branch" if self.branches:
                refs.drop_branch(self.table, self.some(self.branches))
            case "consumer":
                refs.consumer(self.table, "c", self.some(self.snapshots[-4:]))
            case "rollback":
                target = self.table.handle.snapshots.get(self.some(self.snapshots))
                refs.rollback_as_latest(self.table, target)
            case "wait":
                self.clock.advance(3600)
            case "expire":
                self.expire()
            case _:
                pass

    def write(self, table: Table) -> None:
        start = self.rng.randrange(6)
        table.write(kv(*((k, f"v{self.count}") for k in range(start, start + 3))))

    def some(self, among: list[T]) -> T:
        return self.rng.choice(among)

    @property
    def snapshots(self) -> list[int]:
        return list(self.table.handle.snapshots.ids())

    @property
    def tags(self) -> list[str]:
        return self.below("tag/tag-")

    @property
    def branches(self) -> list[str]:
        return self.below("branch/branch-")

    def below(self, prefix: str) -> list[str]:
        folder, _, start = prefix.partition("/")
        found = Path(self.table.path, folder).glob(f"{start}*")
        return sorted(path.name.removeprefix(start) for path in found)

    def expire(self) -> None:
        """Expire, and hold everything against what was there before."""
        table, before = self.table, refs.snapshot_files(self.table)
        for path in before.values():
            content = Path(path).read_bytes()
            if content not in self.rows:  # what a snapshot holds never changes
                self.rows[content] = rows_of(refs.on_snapshot_file(table, path))
        old = names_below(table.path)
        reached = {label: needed_by_all(table.path, [path]) for label, path in before.items()}
        retain = self.rng.randint(1, 3)
        result = table.expire(retain_min=retain, retain_max=retain + self.rng.randrange(4))
        refs.consumer(table, "c", self.snapshots[-1])  # it goes on, or nothing would ever go
        left = refs.snapshot_files(table)
        gone = before.keys() - left.keys()
        needed = set[str]().union(*(reached[label] for label in left))
        now = names_below(table.path)

        assert needed <= now
        assert now <= old
        assert all(label.startswith("snapshot-") for label in gone)
        assert len(gone) == result.snapshots
        only_gone = set[str]().union(*(reached[label] for label in gone)) - needed
        assert not only_gone & now, "what only expired snapshots held is gone"
        assert old - now <= only_gone
        for label, path in left.items():
            expected = self.rows[Path(path).read_bytes()]
            assert rows_of(refs.on_snapshot_file(table, path)) == expected, label


@SLOW
@given(seed=st.integers(0, 2**32))
def test_expiry_keeps_what_is_reached_and_removes_what_is_not(seed: int) -> None:
    folder, rng = Path(tempfile.mkdtemp()), Random(seed)
    try:
        story = Story(folder, rng)
        for act in rng.choices(list(ACTS), list(ACTS.values()), k=26):
            story.act(act)
        story.expire()
    finally:
        shutil.rmtree(folder)
