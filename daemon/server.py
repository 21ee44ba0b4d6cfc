"""HTTP for Prometheus, Kubernetes and people: reads only, changes nothing, no access control.

| path | answers |
|---|---|
| /metrics | Prometheus text |
| /healthz | 200 while the scheduler ticks, else 503 |
| /readyz | 200 after the first tick and until the drain, else 503 |
| /tasks | JSON: what runs, waits, is held, and was done lately |
"""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from .errors import JournalError, ServerError

# A client that does not finish its request by then is gone.
REQUEST_SECONDS = 10.0
# How long `stop` may have to wait.
POLL_SECONDS = 0.1


class Status(Protocol):
    """What the server asks the daemon."""

    @property
    def alive(self) -> bool: ...

    @property
    def ready(self) -> bool: ...

    def status(self) -> dict[str, object]: ...


class Server:
    """Listens from the moment it is made; answers from `start` to `stop`.

    Args:
        listen: ``host:port``; an empty host means all addresses, port 0 any free port.

    Raises:
        ServerError: the port is in use or not allowed, or the host is none of this machine.
    """

    def __init__(self, listen: str, status: Status, registry: CollectorRegistry) -> None:
        host, _, port = listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            self._http = _Http((host, int(port)), _Handler)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ServerError(
                f"cannot listen, key=server.listen, address={listen}, error={reason}"
            ) from error
        self._http.status = status
        self._http.registry = registry
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(POLL_SECONDS,), name="http", daemon=True
        )

    @property
    def address(self) -> str:
        """``host:port`` as bound."""
        host, port = self._http.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"

    def start(self) -> None:
        """Answer requests, in threads of their own."""
        self._thread.start()

    def stop(self) -> None:
        """No more answers; the port is free when this returns."""
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.server_close()


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    status: Status
    registry: CollectorRegistry

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is nobody's business."""


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_SECONDS
    server: _Http  # pyright: ignore[reportIncompatibleVariableOverride]  made by no other server

    def do_GET(self) -> None:
        """Answer, or 404."""
        status = self.server.status
        match urlsplit(self.path).path:
            case "/metrics":
                self._send(200, generate_latest(self.server.registry), CONTENT_TYPE_LATEST)
            case "/healthz":
                self._probe(status.alive, "alive", "no tick for too long")
            case "/readyz":
                self._probe(status.ready, "ready", "not every table was looked at, or draining")
            case "/tasks":
                self._tasks(status)
            case _:
                self._send(404, b"not found\n", "text/plain; charset=utf-8")

    def log_message(self, format: str, *args: object) -> None:
        """Requests are not worth a log line."""

    def _tasks(self, status: Status) -> None:
        try:
            body = status.status()
        except JournalError as error:
            self._json(503, {"error": str(error)})
        else:
            self._json(200, body)

    def _probe(self, well: bool, yes: str, no: str) -> None:
        text = f"{yes if well else no}\n".encode()
        self._send(200 if well else 503, text, "text/plain; charset=utf-8")

    def _json(self, code: int, body: dict[str, object]) -> None:
        self._send(code, json.dumps(body, default=str).encode(), "application/json")

    def _send(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
