"""The REST catalog server of Paimon's own tests, over a warehouse on the local disk."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from .peers import NEWEST, PeerNotSetUp
from .server_process import running, server_folder, wait_until

__all__ = ["RestServer", "rest_server"]

_ROOT = Path(__file__).resolve().parents[2]
_PEERS = _ROOT / "build" / "peers"
_LISTENING = re.compile(r"^listening on http://[^/]*:(\d+)", re.MULTILINE)
_JAVA = ("java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


@dataclass(frozen=True, slots=True)
class RestServer:
    """A running server; tables lie in `folder`, as in a warehouse of files."""

    uri: str
    warehouse: str
    token: str
    folder: Path

    def paimon_options(self, *, token: str | None = None) -> dict[str, str]:
        """A Paimon catalog's options, maybe with another token."""
        return {
            "metastore": "rest",
            "uri": self.uri,
            "warehouse": self.warehouse,
            "token.provider": "bear",
            "token": self.token if token is None else token,
        }


@contextlib.contextmanager
def rest_server(*, warehouse: str = "lake", token: str = "secret") -> Generator[RestServer]:
    """A server that knows no tables yet, as long as the block lasts."""
    with server_folder("rest") as folder:
        data, log = folder / "data", folder / "rest.log"
        data.mkdir()
        command = [*_JAVA, "-cp", _classpath(), "RestServer", str(data), warehouse, token]
        with running(command, log) as process:
            wait_until(lambda: _port(log) is not None, process, log)
            yield RestServer(f"http://127.0.0.1:{_port(log)}", warehouse, token, data)


def _classpath() -> str:
    peer, home = _PEERS / f"java-{NEWEST}" / "classpath.txt", _PEERS / "rest"
    own, classes = home / "classpath.txt", home / "classes"
    if not (peer.is_file() and own.is_file() and classes.is_dir()):
        raise PeerNotSetUp("the REST catalog server is not there: run make setup-peers")
    jars = (path.read_text(encoding="utf-8").strip() for path in (peer, own))
    return os.pathsep.join((str(classes), *jars))


def _port(log: Path) -> int | None:
    found = _LISTENING.search(log.read_text(encoding="utf-8", errors="replace"))
    return int(found[1]) if found else None
