"""A thousand tables against a model: nothing that anybody reaches goes, all old orphans do.

Expiry and orphan cleaning take turns with writers, rollbacks, tags and branches, which also act
between the plan of a clean and its carrying out.
"""

from __future__ import annotations

from random import Random

import pytest
from support.graph_model import HOLDER, Reader, candidate
from support.graphs import ACTS, Graph

from desilt.table.orphans.clean import OrphanSettings, apply_orphans, plan_orphans

GRAPHS = 1000
CHUNKS = 20
HOUR = 3_600_000
# What may happen between the plan and its carrying out; others cannot make a file reachable.
BETWEEN = ("late", "append", "tag", "branch", "rollback as latest", "compact", "expire", "wait")


class Story:
    """A graph, and what is asked of every clean and every expiry."""

    def __init__(self, seed: int) -> None:
        self.graph = Graph(seed)
        self.rng = Random(seed + 1)
        self.reader = Reader(self.graph)
        self.deleted = 0
        self.spared = 0

    def run(self) -> None:
        acts = self.rng.choices(list(ACTS), list(ACTS.values()), k=self.rng.randint(8, 16))
        for at, act in enumerate(acts):
            self.act(act)
            if at and at % 6 == 0:
                self.clean(between=self.rng.sample(BETWEEN, 2))
        self.act("expire")
        self.clean(between=())

    def act(self, what: str) -> None:
        if what != "expire" or self.graph.external:
            self.graph.act(what)
            return
        holders, before = self.reader.holders(), self.graph.storage.paths()
        self.graph.act("expire")
        after = self.graph.storage.paths().keys()
        gone = before.keys() - after
        names = {path.rpartition("/")[2] for path in after}
        kept = {path: reached for path, reached in holders.items() if path in after}
        for path, reached in kept.items():
            assert reached.needed <= names, path
        named = set[str]().union(*(r.named for path, r in holders.items() if path not in after))
        assert {p.rpartition("/")[2] for p in gone if not HOLDER.fullmatch(p)} <= named

    def clean(self, between: tuple[str, ...] | list[str]) -> None:
        graph = self.graph
        age = self.rng.choice([HOUR, 3 * HOUR, 24 * HOUR])
        settings = OrphanSettings(age, external=True)
        planned_at = graph.clock.now()
        old = {p for p, t in graph.storage.paths().items() if t < planned_at - age}
        unnamed = self.unnamed(old)
        plan = plan_orphans(graph.handle, settings, graph.in_use)
        at_plan = {
            path if path.startswith("/") else f"{plan.path}/{path}" for path in plan.files["path"]
        }
        assert at_plan == unnamed
        for act in between:
            self.act(act)
        before = graph.storage.paths()
        expected = self.unnamed(unnamed & before.keys())
        result = apply_orphans(plan, graph.handle, in_use=lambda: graph.in_use)
        gone = before.keys() - graph.storage.paths().keys()

        assert gone == expected
        assert result.files_total + result.kept == plan.files.height
        self.deleted += len(gone)
        self.spared += result.kept
        self.whole()

    def unnamed(self, paths: set[str]) -> set[str]:
        """Of these, what may be deleted and nobody names."""
        graph = self.graph
        named = set[str]().union(*(r.named for r in self.reader.holders().values()))
        named |= graph.in_use.files
        return {
            path
            for path in paths
            if candidate(graph, path)
            and path.rpartition("/")[2] not in named
            and not any(task in path.rpartition("/")[2] for task in graph.in_use.tasks)
        }

    def whole(self) -> None:
        """Everything that can be read has all its files."""
        names = {path.rpartition("/")[2] for path in self.graph.storage.paths()}
        for path, reached in self.reader.holders().items():
            assert reached.needed <= names, path


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_nothing_reachable_goes_and_every_old_orphan_does(chunk: int) -> None:
    deleted = spared = 0
    for seed in range(chunk * GRAPHS // CHUNKS, (chunk + 1) * GRAPHS // CHUNKS):
        story = Story(seed)
        try:
            story.run()
        except BaseException:
            print(f"seed {seed}")
            raise
        deleted += story.deleted
        spared += story.spared

    assert deleted > 100
    assert spared > 0, "somebody came between a plan and its carrying out"
