"""Random histories of tags, branches, expiry and rollback: what is there is always whole.

After every step each kept snapshot, tag and branch is read and must hold the rows that it held when
it was made; after the last, nothing that is left unread is held by anybody but by a rollback.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import refs
from support.builders import ManualClock, keyed_table, kv, rows_of
from support.reachable import names_below, needed_by_all

from desilt.table.errors import InvalidRequest
from desilt.table.rollback import RollbackTarget, rollback
from desilt.table.table import Table
from desilt.table.tagging.auto import auto_tags, plan_auto_tags
from desilt.table.tagging.delete import delete_tags
from desilt.table.tagging.expire import expire_tags

T = TypeVar("T")

# How often each happens, of a hundred.
ACTS = {
    "write": 25, "compact": 12, "tag": 14, "tag for a while": 5, "untag": 8, "untag several": 3,
    "rename": 3, "replace": 5, "expire tags": 3, "auto": 5, "expire": 8, "branch": 3,
    "branch write": 2, "drop branch": 1, "roll back": 2, "roll back to a tag": 2,
    "roll back as latest": 2,
}  # fmt: skip
SLOW = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a seed does not shrink
    suppress_health_check=[HealthCheck.too_slow],
)
OPTIONS = {"manifest.merge-min-count": "3"}
AUTO = {
    "tag.automatic-creation": "process-time",
    "tag.creation-period-duration": "5 min",
    "tag.num-retained-max": "2",
}


@dataclass
class Story:
    """One table and what happens to it; ``rows``: by the state that a file names."""

    folder: Path
    rng: Random
    clock: ManualClock = field(default_factory=ManualClock)
    count: int = 0
    orphans: bool = False
    rows: dict[tuple[str, str], list[tuple[object, ...]]] = field(default_factory=dict[Any, Any])
    last: dict[str, tuple[str, str]] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        self.table = keyed_table(self.folder, clock=self.clock, options=OPTIONS)
        self.table.write(kv((0, "first")))
        self.check("first")

    def act(self, what: str) -> None:
        self.count += 1
        self.clock.advance(60)
        with suppress(InvalidRequest):  # a name that is taken, a state that is ahead
            self.do(what)
        self.check(what)

    def do(self, what: str) -> None:
        table, handle, tags = self.table, self.table.handle, self.tags
        match what:
            case "write":
                self.write(table)
            case "compact":
                table.compact("full")
            case "tag":
                table.create_tag(f"t{self.count}", snapshot_id=self.some(self.taggable))
            case "tag for a while":
                retained = timedelta(minutes=self.rng.randint(1, 9))
                table.create_tag(
                    f"t{self.count}", snapshot_id=self.some(self.taggable), retained=retained
                )
            case "untag" if tags:
                table.delete_tag(self.some(tags))
            case "untag several" if tags:
                delete_tags(handle, self.rng.sample(tags, self.rng.randint(1, len(tags))))
            case "rename" if tags:
                table.rename_tag(self.some(tags), f"t{self.count}")
            case "replace" if tags:
                table.replace_tag(self.some(tags), snapshot_id=self.some(self.taggable))
            case "expire tags":
                expire_tags(handle)
            case "auto":
                auto_tags(handle, AUTO)
                assert plan_auto_tags(handle, AUTO).empty
            case "expire":
                keep = self.rng.randint(1, 4)
                table.expire(retain_min=keep, retain_max=keep, retain_age=timedelta())
            case _:
                self.do_branches_and_rollbacks(what)

    def do_branches_and_rollbacks(self, what: str) -> None:
        table, tags, branches = self.table, self.tags, self.branches
        match what:
            case "branch" if tags:
                refs.create_branch(table, f"b{self.count}", self.some(tags))
            case "branch write" if branches:
                self.write(refs.on_branch(table, self.some(branches), self.clock))
            case "drop branch" if branches:
                refs.drop_branch(table, self.some(branches))
                self.orphans = True
            case "roll back":
                self.orphans = True
                to = RollbackTarget(snapshot_id=self.some(self.snapshots))
                expected = self.state(f"snapshot-{to.snapshot_id}")
                rollback(table.handle, to)
                assert rows_of(table) == expected
            case "roll back to a tag" if tags:
                self.orphans = True
                name = self.some(tags)
                expected = self.state(f"tag-{name}")
                rollback(table.handle, RollbackTarget(tag=name))
                assert rows_of(table) == expected
            case "roll back as latest":
                target = table.handle.snapshots.get(self.some(self.snapshots))
                refs.rollback_as_latest(table, target)
                self.orphans = True  # what Java's own leaves behind is not ours to count
            case _:
                pass

    def write(self, table: Table) -> None:
        start = self.rng.randrange(6)
        table.write(kv(*((k, f"v{self.count}") for k in range(start, start + 3))))

    def some(self, among: list[T]) -> T:
        return self.rng.choice(among)

    def state(self, label: str) -> list[tuple[object, ...]]:
        return self.rows[self.last[label]]

    @property
    def snapshots(self) -> list[int]:
        return list(self.table.handle.snapshots.ids())

    @property
    def taggable(self) -> list[int]:
        """Snapshots, and those that live on in tags."""
        return sorted({*self.snapshots, *(tag.snapshot.id for tag in self.table.tags())})

    @property
    def tags(self) -> list[str]:
        return [tag.name for tag in self.table.tags()]

    @property
    def branches(self) -> list[str]:
        found = Path(self.table.path, "branch").glob("branch-*")
        return sorted(path.name.removeprefix("branch-") for path in found)

    def check(self, what: str) -> None:
        """Read everything, and hold it against what it was."""
        files = refs.snapshot_files(self.table)
        self.last = {}
        for label, path in files.items():
            view = refs.on_snapshot_file(self.table, path)
            snapshot = refs.latest_of(view)
            key = snapshot.base_manifest_list, snapshot.delta_manifest_list
            self.last[label] = key
            rows = rows_of(view)
            assert self.rows.setdefault(key, rows) == rows, f"{label} after {what}"
        needed, there = needed_by_all(self.table.path, files.values()), names_below(self.table.path)
        assert needed <= there, what
        if not self.orphans:
            assert needed == there, what


@SLOW
@given(seed=st.integers(0, 2**32))
def test_what_is_there_is_whole_and_what_nobody_reads_is_gone(seed: int) -> None:
    print(f"{seed=}")
    folder, rng = Path(tempfile.mkdtemp()), Random(seed)
    try:
        story = Story(folder, rng)
        for act in rng.choices(list(ACTS), list(ACTS.values()), k=32):
            story.act(act)
    finally:
        shutil.rmtree(folder)
