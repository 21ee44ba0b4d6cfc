"""The records that the daemon thinks in: one attempt on one bucket, and how it ended.

    Proposal ──admitted──▶ Task ──ran──▶ Finished
    (policies/admit.py)

A `Task` has an id; a bucket has at most one at a time. A `Finished` has everything that the log
line, the metrics and the journal say about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ..policies.admit import BucketKey, Proposal

# What the label ``action`` may say; counters start at 0 for each.
ACTIONS = ("compact",)


class Outcome(StrEnum):
    """How a task ended; the values of the label ``outcome``."""

    COMMITTED = "committed"  # a snapshot was published
    CONFLICTED = "conflicted"  # the input changed: outputs removed, the bucket is planned again
    FAILED = "failed"  # an error of the table or its storage
    REJECTED = "rejected"  # the written files do not hold what the inputs say: nothing committed
    CRASHED = "crashed"  # the worker died
    TIMED_OUT = "timed-out"  # the worker was killed for taking too long
    UNKNOWN = "unknown"  # the answer to the commit was lost: looked up later
    NOTHING = "nothing"  # planning found nothing to pick: no task after all


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt. ``path``: of the table; ``policy``: name in the YAML; ``attempt``: from 1."""

    task_id: str
    proposal: Proposal
    path: str
    policy: str
    attempt: int
    started: datetime

    @property
    def key(self) -> BucketKey:
        """The bucket; at most one task each."""
        return self.proposal.key

    @property
    def file_prefix(self) -> str:
        """What the names of all data files that this task may write begin with."""
        return f"data-{self.task_id}-"


@dataclass(frozen=True, slots=True)
class Finished:
    """How a task ended. Sizes in bytes on storage; ``error`` is None unless it failed."""

    task: Task
    outcome: Outcome
    duration_seconds: float
    snapshot_id: int | None = None
    input_bytes: int = 0
    output_bytes: int = 0
    rows_in: int = 0
    rows_out: int = 0
    upgraded: int = 0
    peak_rss_bytes: int = 0
    lost_races: int = 0
    readded: int = 0
    error: Exception | None = None
