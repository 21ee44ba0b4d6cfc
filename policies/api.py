"""What a policy sees, and what it answers.

A policy is a pure function from the *health frame* to *verdicts*. The health frame
(`table.health.HEALTH_SCHEMA`) has one row per bucket. Its columns, in order:

| column | unit | meaning | null |
|---|---|---|---|
| table | | ``db.table`` | never |
| partition | | ``dt=a/hr=1``, values as in the directories; "" without partitions | never |
| bucket | | bucket number; append tables without fixed buckets: 0 | never |
| keyed | | the table has a primary key | never |
| files | count | live data files | never |
| small_files | count | smaller than target-file-size × compaction.small-file-ratio | never |
| level0_files | count | files at level 0 | never |
| sorted_runs | count | one per level-0 file and per other level in use; append: 0 | never |
| bytes | bytes | of all live files | never |
| rows | count | physical rows, deletes included | never |
| delete_rows | count | rows that retract a key | never |
| overlap_bytes | bytes | of files in sections of two or more runs | never |
| write_amplification | ratio | (APPEND + COMPACT bytes) ÷ APPEND bytes seen | no append seen |
| oldest_level0_age_seconds | seconds | since its snapshot | no level 0, append table |
| runs | list | struct(level, bytes), newest first, level 0 then upwards; append: empty | never |
| packable_files | count | append: files that packing would rewrite now; keyed: 0 | never |
| packable_bytes | bytes | of those | never |
| trigger | runs | num-sorted-run.compaction-trigger | never |
| stop_trigger | runs | num-sorted-run.stop-trigger, from which writers wait | never |
| size_amplification_percent | percent | compaction.max-size-amplification-percent | never |
| size_ratio_percent | percent | compaction.size-ratio | never |
| min_file_num | files | compaction.min.file-num | never |
| target_file_bytes | bytes | target-file-size | never |
| up_level0 | | what comes to level 0 is to leave it at once | never |
| vector_rows | rows | that deletion vectors take, where their writers said how many | never |
| max_level | level | the bucket's highest, in use or not; append: 0 | never |
| commits_since_full | commits | since all was merged into one run, at least; append: 0 | never |
| full_age_seconds | seconds | since that | not known, append |
| full_commits | commits | after which the table wants it again | not by commits |
| full_interval_seconds | seconds | after which it does: compaction.optimization-interval | not so |
| full_below_bytes | bytes | smaller buckets always: compaction.total-size-threshold | not so |
| full_above_bytes | bytes | above max_level: compaction.incremental-size-threshold | not so |
| full | | false; in an answer: merge the bucket whole | never |

A policy adds the three columns of `VERDICT_SCHEMA`. Of the facts it may change only
`PICK_COLUMNS`: in its answer they are what to *plan* the bucket with, so that what was judged due
with a lower trigger is also picked with it, and what is due as a whole is merged as a whole.

The built-ins do not trust "never": a null, NaN or negative number counts as nothing, and nothing is
due on account of a fact that is not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, Protocol

import polars as pl

from ..table.health import HEALTH_SCHEMA
from .errors import PolicyError

__all__ = [
    "HEALTH_SCHEMA",
    "KEY_COLUMNS",
    "NOT_DUE_MAX",
    "PICK_COLUMNS",
    "PICK_NUMBERS",
    "VERDICT_SCHEMA",
    "BucketFacts",
    "JudgeBucket",
    "Policy",
    "RunFacts",
    "Verdict",
    "check_verdicts",
    "judge_with",
    "lift",
]

Action = Literal["compact"]

KEY_COLUMNS = ("table", "partition", "bucket")
PICK_NUMBERS = ("trigger", "size_amplification_percent", "size_ratio_percent")
PICK_COLUMNS = (*PICK_NUMBERS, "full")
VERDICT_SCHEMA: dict[str, pl.DataType] = {
    "action": pl.Enum(["compact"]),
    "score": pl.Float64(),
    "reason": pl.String(),
}

# The highest score of a bucket where nothing is due. Far enough from 1 to survive arithmetic, and
# above (trigger - 1) / trigger for every trigger below a million.
NOT_DUE_MAX = 1.0 - 2.0**-20


class Policy(Protocol):
    """Pure: the same facts and the same ``now`` give the same verdicts.

    ``facts``: the health frame. Returns every row, with ``action`` (null where nothing is due),
    ``score`` (finite, >= 0; 0 healthy; >= 1 exactly where an action is due; comparable across
    policies) and ``reason`` (always: a sentence with the numbers it used, also for "not due").
    """

    def judge(self, facts: pl.LazyFrame, *, now: datetime) -> pl.LazyFrame: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy says of one bucket.

    Invariants, checked on construction: the score is finite and >= 0; it is >= 1 exactly when there
    is an action; the reason is not empty.
    """

    action: Action | None
    score: float
    reason: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.score) or self.score < 0:
            raise ValueError(f"a score is finite and not negative, score={self.score}")
        if (self.action is not None) != (self.score >= 1):
            raise ValueError(f"due means score >= 1, action={self.action}, score={self.score}")
        if not self.reason.strip():
            raise ValueError("a verdict needs a reason")


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One sorted run; ``bytes`` on storage."""

    level: int
    bytes: int


@dataclass(frozen=True, slots=True)
class BucketFacts:
    """One row of the health frame as a record: same names, units and nulls, same order."""

    table: str
    partition: str
    bucket: int
    keyed: bool
    files: int
    small_files: int
    level0_files: int
    sorted_runs: int
    bytes: int
    rows: int
    delete_rows: int
    overlap_bytes: int
    write_amplification: float | None
    oldest_level0_age_seconds: float | None
    runs: tuple[RunFacts, ...]
    packable_files: int
    packable_bytes: int
    trigger: int
    stop_trigger: int
    size_amplification_percent: int
    size_ratio_percent: int
    min_file_num: int
    target_file_bytes: int
    up_level0: bool
    vector_rows: int
    max_level: int
    commits_since_full: int
    full_age_seconds: float | None
    full_commits: int | None
    full_interval_seconds: float | None
    full_below_bytes: int | None
    full_above_bytes: int | None
    full: bool


class JudgeBucket(Protocol):
    """A policy that is clearer on one bucket at a time; None means "nothing to say"."""

    def __call__(self, facts: BucketFacts, *, now: datetime) -> Verdict | None: ...


def lift(judge_bucket: JudgeBucket) -> Policy:
    """A per-bucket policy as a `Policy`; it loops over rows, so it is for small warehouses."""
    return _Lifted(judge_bucket)


def judge_with(policy: Policy, facts: pl.LazyFrame, *, now: datetime) -> pl.DataFrame:
    """Verdicts of ``policy`` for every bucket of ``facts``, checked.

    Raises:
        PolicyError: the policy raised, or its answer is refused by `check_verdicts`.
    """
    seen = facts.collect()
    name = type(policy).__name__
    try:
        answer = policy.judge(seen.lazy(), now=now).collect()
    except PolicyError:
        raise
    except Exception as error:  # a plug-in may raise anything, and must only cost itself
        raise PolicyError(
            "policy failed", policy=name, error=f"{type(error).__name__}: {error}"
        ) from error
    return check_verdicts(answer, seen)


def check_verdicts(frame: pl.DataFrame, facts: pl.DataFrame | None = None) -> pl.DataFrame:
    """The frame with its verdict columns as `VERDICT_SCHEMA` says, or an error.

    Args:
        frame: what a policy returned, collected.
        facts: what it was given; with it, every bucket must be answered exactly once.

    Raises:
        PolicyError: a column is missing or of another type; a score is null, NaN, infinite or
            negative; score and action disagree; a reason is missing; buckets are missing, doubled
            or made up; a number to plan with is missing.
    """
    expected = [*(facts.columns if facts is not None else KEY_COLUMNS), *VERDICT_SCHEMA]
    missing = [name for name in expected if name not in frame.columns]
    if missing:
        raise PolicyError("verdicts lack columns", columns=", ".join(missing))
    try:
        checked = frame.with_columns(
            pl.col(name).cast(dtype) for name, dtype in VERDICT_SCHEMA.items()
        )
    except pl.exceptions.PolarsError as error:
        raise PolicyError("verdict columns have the wrong type", error=str(error)) from error
    _check_values(checked)
    if facts is not None:
        _check_buckets(checked, facts)
    return checked


def _check_values(verdicts: pl.DataFrame) -> None:
    score, due = pl.col("score"), pl.col("action").is_not_null()
    _refuse(verdicts, ~score.is_finite() | score.is_null() | (score < 0), "score is no number >= 0")
    _refuse(verdicts, due != (score >= 1), "due and score >= 1 disagree")
    _refuse(
        verdicts,
        pl.col("reason").is_null() | (pl.col("reason").str.strip_chars() == ""),
        "verdict without a reason",
    )
    for name in PICK_NUMBERS:
        if name in verdicts.columns:
            bad = due & (pl.col(name).is_null() | (pl.col(name) < 0))
            _refuse(verdicts, bad, f"{name} is no number to plan with")
    if "full" in verdicts.columns:
        _refuse(verdicts, due & pl.col("full").is_null(), "full is neither true nor false")


def _refuse(verdicts: pl.DataFrame, bad: pl.Expr, message: str) -> None:
    """Raise for the first row where ``bad`` holds, naming its bucket."""
    rows = verdicts.filter(bad)
    if rows.is_empty():
        return
    first = rows.row(0, named=True)
    place = {name: first[name] for name in (*KEY_COLUMNS, "action", "score")}
    raise PolicyError(message, buckets=rows.height, **place)


def _check_buckets(verdicts: pl.DataFrame, facts: pl.DataFrame) -> None:
    keys = list(KEY_COLUMNS)
    answered, asked = verdicts.select(keys), facts.select(keys)
    if answered.height == asked.height and answered.equals(asked):
        return  # the usual case: same buckets, same order
    silent = asked.join(answered, on=keys, how="anti", nulls_equal=True).height
    made_up = answered.join(asked, on=keys, how="anti", nulls_equal=True).height
    doubled = answered.height - answered.n_unique()
    if silent or made_up or answered.height != asked.height:
        raise PolicyError(
            "not one verdict for every bucket", missing=silent, unknown=made_up, doubled=doubled
        )


@dataclass(frozen=True, slots=True)
class _Lifted:
    judge_bucket: JudgeBucket

    def judge(self, facts: pl.LazyFrame, *, now: datetime) -> pl.LazyFrame:
        frame = facts.collect()
        verdicts = [self.judge_bucket(bucket, now=now) or _SILENT for bucket in _buckets(frame)]
        columns = {
            name: pl.Series(name, [getattr(verdict, name) for verdict in verdicts], dtype)
            for name, dtype in VERDICT_SCHEMA.items()
        }
        return frame.with_columns(**columns).lazy()


_SILENT = Verdict(None, 0.0, "not due: the policy has nothing to say about this bucket")


def _buckets(frame: pl.DataFrame) -> Iterator[BucketFacts]:
    names = [field.name for field in fields(BucketFacts)]
    for row in frame.select(names).iter_rows(named=True):
        yield _bucket(row)


def _bucket(row: dict[str, Any]) -> BucketFacts:
    row["runs"] = tuple(RunFacts(run["level"], run["bytes"]) for run in row["runs"] or ())
    return BucketFacts(**row)
