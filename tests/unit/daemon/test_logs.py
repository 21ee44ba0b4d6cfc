"""Log lines: fixed event names, values in keys, one canonical line per task."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from support.daemon_fakes import a_finished

from desilt.daemon import listen
from desilt.daemon.config import LogsConfig
from desilt.daemon.listen import Event, TableHalted, TaskFinished, TickFinished
from desilt.daemon.logs import LogListener, describe, make_logger
from desilt.daemon.task import Outcome
from desilt.table.errors import CorruptTable


def lines(*events: Event, level: Any = "debug") -> list[dict[str, Any]]:
    stream = io.StringIO()
    log = LogListener(make_logger(LogsConfig(level=level), stream))
    for event in events:
        log(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_task_has_one_line_with_everything() -> None:
    (line,) = lines(TaskFinished(a_finished(Outcome.COMMITTED, snapshot_id=7, rows_in=4)))

    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "task.finished", "level": "info", "table": "db.t", "partition": "", "bucket": 0,
        "task_id": "t-1", "action": "compact", "policy": "default", "score": 1.0,
        "reason": "due: 5 runs", "attempt": 1, "outcome": "committed", "duration_seconds": 1.5,
        "snapshot_id": 7, "input_bytes": 0, "output_bytes": 0, "rows_in": 4, "rows_out": 0,
        "upgraded": 0, "peak_rss_bytes": 0, "lost_races": 0, "readded": 0,
    }  # fmt: skip


def test_failed_task_is_a_warning_with_its_error() -> None:
    error = CorruptTable("manifest is cut off", file="m-1")
    (line,) = lines(TaskFinished(a_finished(Outcome.FAILED, error=error)))

    assert line["level"] == "warning"
    assert line["error"] == "CorruptTable: manifest is cut off, file=m-1"


def test_level_hides_what_is_less_important() -> None:
    assert lines(TickFinished(1, 0, 0, 0, 0.1), level="info") == []
    assert len(lines(TickFinished(1, 1, 0, 0, 0.1), level="info")) == 1
    assert len(lines(TableHalted("db.t", "cut off"), level="error")) == 1


def test_bug_is_described_as_what_it_is() -> None:
    text = describe(KeyError("missing"))

    assert "KeyError: 'missing'" in text


def test_console_format_is_for_eyes() -> None:
    stream = io.StringIO()
    LogListener(make_logger(LogsConfig(format="console"), stream))(TableHalted("db.t", "cut off"))

    assert "table.halted" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("kind", Event.__subclasses__(), ids=lambda kind: kind.__name__)
def test_event_names_are_noun_and_participle(kind: type[Event]) -> None:
    noun, _, participle = kind.name.partition(".")

    assert noun.isalpha()
    assert participle.endswith(("ed", "ept", "und", "ten"))
    assert kind.__module__ == listen.__name__
