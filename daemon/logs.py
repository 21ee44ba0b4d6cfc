"""Events as structlog lines on stderr: JSON for machines, colours for eyes."""

from __future__ import annotations

import logging
import sys
import traceback
from dataclasses import fields
from enum import Enum
from typing import TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from .config import LogsConfig
from .listen import Event, ExpiryFinished, TaskFinished, TaskStarted, TickFinished, UpkeepFinished
from .task import Finished, Outcome, Task

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
# Normal ends of a task; any other one is a warning. A lost race is one of them.
_NORMAL = (Outcome.COMMITTED, Outcome.CONFLICTED, Outcome.NOTHING)


def make_logger(config: LogsConfig, stream: TextIO | None = None) -> FilteringBoundLogger:
    """A logger that writes to ``stream`` (stderr); of the global state only apscheduler's
    changes."""
    target = sys.stderr if stream is None else stream
    # It warns of every tick that starts late; tick.finished has the duration.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    render: Processor = (
        structlog.processors.JSONRenderer()
        if config.format == "json"
        else structlog.dev.ConsoleRenderer(colors=target.isatty())
    )
    wrapped = structlog.wrap_logger(
        structlog.PrintLogger(target),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[config.level]),
    )
    return cast("FilteringBoundLogger", wrapped)


class LogListener:
    """One line per event; see `listen.py` for what each one means."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger

    def __call__(self, event: Event, /) -> None:
        """Write the line."""
        level = _LEVELS[event.level]
        if isinstance(event, TickFinished) and not (event.changed or event.due):
            level = _LEVELS["debug"]  # nothing moved: nothing to read on a good day
        if isinstance(event, ExpiryFinished) and not (event.files or event.consumers):
            level = _LEVELS["debug"]
        if isinstance(event, UpkeepFinished) and not (event.made or event.dropped or event.files):
            level = _LEVELS["debug"]
        if isinstance(event, TaskFinished):
            level = _task_level(event.finished)
        self._logger.log(level, event.name, **_values(event))


def _task_level(finished: Finished) -> int:
    if finished.outcome is Outcome.NOTHING:
        return _LEVELS["debug"]
    return _LEVELS["info" if finished.outcome in _NORMAL else "warning"]


def _values(event: Event) -> dict[str, object]:
    match event:
        case TaskFinished(finished):
            return _finished(finished)
        case TaskStarted(task, snapshot_id, input_bytes):
            return {**_task(task), "snapshot_id": snapshot_id, "input_bytes": input_bytes}
        case _:
            return {field.name: _plain(getattr(event, field.name)) for field in fields(event)}


def _finished(finished: Finished) -> dict[str, object]:
    values: dict[str, object] = {**_task(finished.task), "outcome": finished.outcome.value}
    for name in (
        "duration_seconds", "snapshot_id", "input_bytes", "output_bytes", "rows_in", "rows_out",
        "upgraded", "peak_rss_bytes", "lost_races", "readded",
    ):  # fmt: skip
        values[name] = _plain(getattr(finished, name))
    if finished.error is not None:
        values["error"] = describe(finished.error)
    return values


def _task(task: Task) -> dict[str, object]:
    proposal = task.proposal
    return {
        "table": task.key.table,
        "partition": task.key.partition,
        "bucket": task.key.bucket,
        "task_id": task.task_id,
        "action": proposal.action,
        "policy": task.policy,
        "score": round(proposal.score, 3),
        "reason": proposal.reason,
        "attempt": task.attempt,
    }


def _plain(value: object) -> object:
    match value:
        case Enum():
            return value.name.lower()
        case float():
            return round(value, 3)
        case _:
            return value


def describe(error: Exception) -> str:
    """The error's text; with its traceback where it is none of ours, which makes it a bug."""
    from ..table.errors import DesiltError

    if isinstance(error, DesiltError):
        return f"{type(error).__name__}: {error}"
    return "".join(traceback.format_exception(error)).strip()
