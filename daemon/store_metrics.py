"""What object stores were asked, as metrics: counted by `table.storage.requests`.

The daemon's own requests and those of its workers, which tell theirs with every answer.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from ..table.storage.requests import REQUESTS, RequestCounter


class StoreCollector(Collector):
    """The counter's state as metric families."""

    def __init__(self, counter: RequestCounter = REQUESTS) -> None:
        self._counter = counter

    def collect(self) -> Iterator[CounterMetricFamily]:
        counts = self._counter.counts()
        requests = CounterMetricFamily(
            "desilt_store_requests_total",
            "Requests to object stores, every attempt counted",
            labels=("bucket", "operation", "outcome"),
        )
        for asked, number in sorted(counts.requests.items()):
            requests.add_metric(asked, number)
        moved = CounterMetricFamily(
            "desilt_store_bytes_total",
            "Bytes of objects that were read and written",
            labels=("bucket", "direction"),
        )
        for bucket, number in sorted(counts.read_bytes.items()):
            moved.add_metric((bucket, "read"), number)
        for bucket, number in sorted(counts.written_bytes.items()):
            moved.add_metric((bucket, "written"), number)
        yield requests
        yield moved


def add_store_metrics(registry: CollectorRegistry) -> None:
    """Requests and bytes of this process and its workers."""
    registry.register(StoreCollector())
