"""Builders of health frames: a test shows only the facts that matter to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from desilt.policies import HEALTH_SCHEMA, Policy, judge_with

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

_HEALTHY: dict[str, Any] = {
    "table": "rec.events",
    "partition": "",
    "bucket": 0,
    "keyed": True,
    "files": 0,
    "small_files": 0,
    "level0_files": 0,
    "sorted_runs": 0,
    "bytes": 0,
    "rows": 0,
    "delete_rows": 0,
    "overlap_bytes": 0,
    "write_amplification": None,
    "oldest_level0_age_seconds": None,
    "runs": [],
    "packable_files": 0,
    "packable_bytes": 0,
    "trigger": 5,
    "stop_trigger": 8,
    "size_amplification_percent": 200,
    "size_ratio_percent": 1,
    "min_file_num": 5,
    "target_file_bytes": 128 << 20,
    "up_level0": False,
    "vector_rows": 0,
    "max_level": 5,
    "commits_since_full": 0,
    "full_age_seconds": None,
    "full_commits": None,
    "full_interval_seconds": None,
    "full_below_bytes": None,
    "full_above_bytes": None,
    "full": False,
}


def keyed_facts(runs: str | Sequence[tuple[int, int]] = (), **changes: Any) -> dict[str, Any]:
    """One row of a keyed bucket; ``runs`` newest first: ``"0:1 0:5 5:100"`` or (level, bytes)."""
    pairs = _pairs(runs) if isinstance(runs, str) else list(runs)
    level0 = sum(level == 0 for level, _ in pairs)
    derived = {
        "files": len(pairs),
        "level0_files": level0,
        "sorted_runs": len(pairs),
        "bytes": sum(size for _, size in pairs),
        "oldest_level0_age_seconds": 1.0 if level0 else None,
        "commits_since_full": level0,
        "runs": [{"level": level, "bytes": size} for level, size in pairs],
    }
    return {**_HEALTHY, **derived, **changes}


def append_facts(**changes: Any) -> dict[str, Any]:
    """One row of an append bucket."""
    return {**_HEALTHY, "keyed": False, "max_level": 0, **changes}


def facts_frame(*rows: dict[str, Any]) -> pl.DataFrame:
    """The rows as a health frame; buckets are numbered where several rows would be one bucket."""
    keys = {(row["table"], row["partition"], row["bucket"]) for row in rows}
    if len(keys) < len(rows):
        rows = tuple({**row, "bucket": number} for number, row in enumerate(rows))
    return pl.DataFrame(rows, schema=HEALTH_SCHEMA)


def verdicts_of(policy: Policy, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Checked verdicts, one dict per row, in the rows' order."""
    return judge_with(policy, facts_frame(*rows).lazy(), now=NOW).to_dicts()


def verdict_of(policy: Policy, row: dict[str, Any]) -> dict[str, Any]:
    """The checked verdict of one bucket."""
    return verdicts_of(policy, row)[0]


def _pairs(text: str) -> list[tuple[int, int]]:
    return [(int(level), int(size)) for level, size in (run.split(":") for run in text.split())]
