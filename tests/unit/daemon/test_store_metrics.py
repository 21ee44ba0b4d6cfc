"""What stores were asked, as Prometheus sees it; counts that travel from workers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from desilt.daemon.store_metrics import StoreCollector
from desilt.table.storage.requests import Counts, RequestCounter


def test_requests_and_bytes_have_their_labels() -> None:
    counter, registry = RequestCounter(), CollectorRegistry()
    registry.register(StoreCollector(counter))
    counter.count("lake", "GET", "ok")
    counter.count("lake", "GET", "ok")
    counter.count("lake", "PUT", "throttled")
    counter.moved("lake", read=10, written=3)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"bucket": "lake", **labels})

    requests = "desilt_store_requests_total"
    assert value(requests, operation="GET", outcome="ok") == 2
    assert value(requests, operation="PUT", outcome="throttled") == 1
    assert value("desilt_store_bytes_total", direction="read") == 10
    assert value("desilt_store_bytes_total", direction="written") == 3


def test_counts_of_a_worker_arrive_once() -> None:
    worker, daemon = RequestCounter(), RequestCounter()
    worker.count("lake", "GET", "ok")
    worker.moved("lake", read=5)
    for _ in range(2):
        daemon.add(Counts.of_rows(worker.take().as_rows()))

    assert daemon.counts() == Counts({("lake", "GET", "ok"): 1}, {"lake": 5}, {"lake": 0})  # type: ignore[dict-item]
