"""Metrics: names, labels, zeros at the start, and what each event does to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from support.daemon_fakes import FakeTable, World, a_finished

from desilt.daemon.journal import Journal
from desilt.daemon.listen import (
    BacklogMeasured,
    FleetLooked,
    HoldsCounted,
    TableAwaited,
    TableForgotten,
    TableFound,
    TableScanned,
    TaskFinished,
    WorkerRestarted,
)
from desilt.daemon.metrics import MetricsListener
from desilt.daemon.task import Outcome

ROOT = Path(__file__).parents[3]

# The promise of the first release: names and labels.
STAYS: dict[str, tuple[str, ...]] = {
    "desilt_backlog_tasks": (),
    "desilt_backlog_bytes": (),
    "desilt_oldest_due_age_seconds": (),
    "desilt_tasks_total": ("table", "action", "outcome"),
    "desilt_task_duration_seconds_count": (),
    "desilt_rewritten_bytes_total": ("table", "direction"),
    "desilt_commit_conflicts_total": ("resolution",),
    "desilt_write_amplification_ratio": ("table",),
    "desilt_sorted_runs_max": ("table",),
    "desilt_verification_failures_total": (),
    "desilt_last_success_timestamp_seconds": ("table", "action"),
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def listener(registry: CollectorRegistry) -> MetricsListener:
    return MetricsListener(registry)


def test_promised_metrics_have_their_names_and_labels(
    registry: CollectorRegistry, listener: MetricsListener
) -> None:
    listener(TableFound("db.t", "/wh/db.t"))
    listener(TableScanned("db.t", 1, 1, 3, 1.5, 0.1))
    listener(TaskFinished(a_finished(Outcome.COMMITTED, snapshot_id=2)))

    found = {
        sample.name: set(sample.labels)
        for family in registry.collect()
        for sample in family.samples
    }

    assert {name: found.get(name) for name in STAYS} == {k: set(v) for k, v in STAYS.items()}


def test_outcomes_of_a_found_table_start_at_zero(
    registry: CollectorRegistry, listener: MetricsListener
) -> None:
    listener(TableFound("db.t", "/wh/db.t"))

    for outcome in set(Outcome) - {Outcome.NOTHING}:
        labels = {"table": "db.t", "action": "compact", "outcome": outcome.value}
        assert registry.get_sample_value("desilt_tasks_total", labels) == 0


def test_finished_task_counts_its_bytes_and_races(
    registry: CollectorRegistry, listener: MetricsListener
) -> None:
    finished = a_finished(Outcome.COMMITTED, input_bytes=10, output_bytes=6, lost_races=2)
    listener(TaskFinished(finished))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("desilt_rewritten_bytes_total", table="db.t", direction="read") == 10
    assert value("desilt_rewritten_bytes_total", table="db.t", direction="written") == 6
    assert value("desilt_commit_conflicts_total", resolution="rebuilt") == 2
    assert value("desilt_task_duration_seconds_sum") == 1.5


@pytest.mark.parametrize(
    ("outcome", "metric", "labels"),
    [
        (Outcome.CONFLICTED, "desilt_commit_conflicts_total", {"resolution": "replanned"}),
        (Outcome.UNKNOWN, "desilt_commit_conflicts_total", {"resolution": "unknown"}),
        (Outcome.REJECTED, "desilt_verification_failures_total", {}),
    ],
)
def test_failed_task_is_counted_by_its_outcome(
    registry: CollectorRegistry,
    listener: MetricsListener,
    outcome: Outcome,
    metric: str,
    labels: dict[str, str],
) -> None:
    listener(TaskFinished(a_finished(outcome)))

    assert registry.get_sample_value(metric, labels) == 1


def test_task_that_was_none_is_not_counted(
    registry: CollectorRegistry, listener: MetricsListener
) -> None:
    listener(TaskFinished(a_finished(Outcome.NOTHING)))

    assert registry.get_sample_value("desilt_task_duration_seconds_count") == 0


def test_gauges_of_a_forgotten_table_vanish(
    registry: CollectorRegistry, listener: MetricsListener
) -> None:
    names = ("desilt_sorted_runs_max", "desilt_hidden_age_seconds")
    listener(TableScanned("db.t", 1, 1, 3, 1.5, 0.1))
    listener(TableAwaited("db.t", 2.5))
    before = [registry.get_sample_value(name, {"table": "db.t"}) for name in names]
    listener(TableForgotten("db.t"))
    after = [registry.get_sample_value(name, {"table": "db.t"}) for name in names]

    assert (before, after) == ([3, 2.5], [None, None])


def test_gauges_say_what_was_measured_last(
    registry: CollectorRegistry, listener: MetricsListener
) -> None:
    listener(BacklogMeasured(3, 100, 7.5))
    listener(HoldsCounted(1, 2))
    listener(WorkerRestarted("grown"))

    value = registry.get_sample_value
    assert value("desilt_backlog_tasks") == 3
    assert value("desilt_backlog_bytes") == 100
    assert value("desilt_oldest_due_age_seconds") == 7.5
    assert (value("desilt_halted_tables"), value("desilt_quarantined_buckets")) == (1, 2)
    assert value("desilt_worker_restarts_total", {"reason": "grown"}) == 1


def test_two_apps_do_not_share_metrics(journal: Journal, listener: MetricsListener) -> None:
    other = CollectorRegistry()
    world = World(journal, FakeTable("db.t", {0: 6}), listeners=[MetricsListener(other)])
    world.tick()

    labels = {"table": "db.t", "action": "compact", "outcome": "committed"}
    assert other.get_sample_value("desilt_tasks_total", labels) == 1


def test_every_metric_is_in_the_docs(
    registry: CollectorRegistry, listener: MetricsListener
) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    names = [
        family.name + ("_total" if family.type == "counter" else "")
        for family in registry.collect()
    ]

    assert [name for name in names if f"`{name}`" not in page] == []


def test_a_tick_says_what_its_looks_asked_and_how_far_they_came(
    registry: CollectorRegistry, listener: MetricsListener
) -> None:
    assert registry.get_sample_value("desilt_tick_requests", {"operation": "LIST"}) == 0

    listener(FleetLooked(7, 1, 2, 12.5, {"HEAD": 7, "GET": 2, "LIST": 0, "PUT": 0, "DELETE": 0}))

    assert registry.get_sample_value("desilt_tick_requests", {"operation": "HEAD"}) == 7
    assert registry.get_sample_value("desilt_tick_tables") == 7
    assert registry.get_sample_value("desilt_scan_lag_seconds") == 12.5
