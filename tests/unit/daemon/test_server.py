"""What the HTTP server answers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry

from desilt.daemon.errors import JournalError, ServerError
from desilt.daemon.metrics import MetricsListener
from desilt.daemon.server import Server


class FakeStatus:
    alive = True
    ready = True
    broken = False

    def status(self) -> dict[str, object]:
        if self.broken:
            raise JournalError("state is locked")
        return {"running": [], "table": "ü"}


@pytest.fixture
def status() -> FakeStatus:
    return FakeStatus()


@pytest.fixture
def server(status: FakeStatus) -> Iterator[Server]:
    registry = CollectorRegistry()
    MetricsListener(registry)
    made = Server("127.0.0.1:0", status, registry)
    made.start()
    yield made
    made.stop()


def get(server: Server, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{server.address}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_are_served_in_prometheus_text(server: Server) -> None:
    code, text = get(server, "/metrics")

    assert code == 200
    assert "\ndesilt_backlog_tasks 0.0\n" in text


def test_probes_say_yes(server: Server) -> None:
    assert get(server, "/healthz") == (200, "alive\n")
    assert get(server, "/readyz?verbose=1") == (200, "ready\n")


def test_probes_say_no(server: Server, status: FakeStatus) -> None:
    status.alive = status.ready = False

    assert get(server, "/healthz")[0] == 503
    assert get(server, "/readyz")[0] == 503


def test_tasks_are_json(server: Server) -> None:
    code, text = get(server, "/tasks")

    assert (code, json.loads(text)) == (200, {"running": [], "table": "ü"})


def test_tasks_say_why_when_the_journal_fails(server: Server, status: FakeStatus) -> None:
    status.broken = True

    assert get(server, "/tasks") == (503, '{"error": "state is locked"}')


@pytest.mark.parametrize("path", ["/", "/metrics/x", "/../etc/passwd"])
def test_other_paths_are_not_found(server: Server, path: str) -> None:
    assert get(server, path)[0] == 404


def test_port_in_use_is_named(server: Server, status: FakeStatus) -> None:
    with pytest.raises(ServerError, match=rf"server\.listen, address={server.address}, .*in use"):
        Server(server.address, status, CollectorRegistry())


def test_host_of_another_machine_is_named(status: FakeStatus) -> None:
    with pytest.raises(ServerError, match=r"cannot listen.*192\.0\.2\.1"):
        Server("192.0.2.1:0", status, CollectorRegistry())


def test_port_is_free_after_stop(status: FakeStatus) -> None:
    first = Server("127.0.0.1:0", status, CollectorRegistry())
    address = first.address
    first.start()
    first.stop()

    second = Server(address, status, CollectorRegistry())

    second.stop()
