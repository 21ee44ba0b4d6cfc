"""The REST catalog server of Paimon's own tests, as a process of ours (tests/interop/rest)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from pathlib import Path

from .server_process import ServerError, ServersNotSetUp

__all__ = ["RestServer", "rest_server"]

_HOME = Path(__file__).resolve().parents[2] / "build" / "peers" / "rest-2.0.0"
TOKEN = "secret-of-the-test"
PREFIX = "paimon"


class RestServer:
    """A running server; its tables lie below ``data``, its warehouse is called ``warehouse``."""

    def __init__(self, process: subprocess.Popen[str], data: Path, warehouse: str) -> None:
        self._process = process
        self.data = data
        self.warehouse = warehouse
        self.token = TOKEN
        self.uri = self._line().rstrip("/")

    def java_options(self) -> dict[str, str]:
        """What a Java client's catalog is opened with."""
        return {
            "metastore": "rest",
            "uri": self.uri,
            "warehouse": self.warehouse,
            "token.provider": "bear",
            "token": self.token,
        }

    def set_token(self, table: str, expires_at_millis: int, options: Mapping[str, str]) -> None:
        """What the server answers to who asks for the table's credentials."""
        pairs = (f"{key}={value}" for key, value in options.items())
        self._order("token", table, str(expires_at_millis), *pairs)

    def forbid(self, table: str) -> None:
        """Nobody may do anything with this table any more."""
        self._order("forbid", table)

    def lose_next_answer(self) -> None:
        """The next commit that succeeds is answered by an error."""
        self._order("lose")

    def _order(self, *words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        answer = self._line()
        if answer != "ok":
            raise ServerError(answer)

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ServerError("the REST server ended")
        return line.rstrip("\n")


@contextlib.contextmanager
def rest_server(data: Path, **defaults: str) -> Generator[RestServer]:
    """A server as long as the block lasts; ``defaults``: what it tells its clients."""
    classpath = _HOME / "classpath.txt"
    if not (_HOME / "stamp").is_file():
        raise ServersNotSetUp("the REST server is not built: run make setup-servers")
    entries = f"{_HOME / 'classes'}{os.pathsep}{classpath.read_text(encoding='utf-8').strip()}"
    warehouse = "lake of the test"
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [
                *("java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
                *("-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-Duser.timezone=UTC"),
                *("-cp", entries, "desilt.rest.Server", str(data), warehouse, TOKEN, PREFIX),
                *(f"{key}={value}" for key, value in defaults.items()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            yield RestServer(process, data, warehouse)
        finally:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()  # the order to end
            process.wait(timeout=20)
            process.stdout.close()
