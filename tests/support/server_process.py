"""Server processes of tests: they end with the test process, and so does their folder.

The kernel ends them when the thread that started them ends, even if it is killed, so start them in
the main thread. A shell that waits for the end of a pipe which the test process holds open removes
the folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

__all__ = [
    "ServerError",
    "ServersNotSetUp",
    "free_port",
    "library_path",
    "run_tool",
    "running",
    "server_folder",
    "servers_home",
    "wait_until",
]

_ROOT = Path(__file__).resolve().parents[2]
_LOG_TAIL = 3000
_REMOVE = 'read _; sleep 2; rm -rf -- "$1"'


class ServerError(Exception):
    """A server did not start or a tool of it failed; the text holds the end of its log."""


class ServersNotSetUp(Exception):
    """The servers are not there."""


def servers_home(name: str) -> Path:
    """The folder of a server's programs under build/servers."""
    home = _ROOT / "build" / "servers" / name
    if not home.is_dir():
        raise ServersNotSetUp(f"{name} is not in build/servers: run make setup-servers")
    return home.resolve()


def library_path(tree: Path) -> str:
    """LD_LIBRARY_PATH for programs in a tree that Debian packages were unpacked into."""
    folders = (tree / "usr" / "lib", tree / "lib")
    found = [path for folder in folders for path in sorted(folder.glob("*-linux-gnu"))]
    return os.pathsep.join(str(path) for base in found for path in (base, base / "ceph"))


def free_port() -> int:
    """A port of the loopback interface that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server_folder(name: str) -> Generator[Path, None, None]:
    """A temporary folder that goes away even when this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix=f"desilt-{name}-"))
    remover = subprocess.Popen(["sh", "-c", _REMOVE, "sh", str(folder)], stdin=subprocess.PIPE)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        remover.kill()
        remover.communicate()


@contextlib.contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    end_signal: str = "KILL",
) -> Generator[subprocess.Popen[bytes], None, None]:
    """A server as long as the block and this thread last; its output goes to the log.

    `end_signal` is what it gets from the kernel when this thread dies, and at the end of the block.
    """
    with log.open("ab") as stream:
        process = subprocess.Popen(
            ["setpriv", f"--pdeathsig={end_signal}", *_as_user(user), "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env={**os.environ, **(env or {})},
        )
    try:
        yield process
    finally:
        _stop(process, end_signal)


def _as_user(user: str | None) -> list[str]:
    return [] if user is None else [f"--reuid={user}", "--regid=nogroup", "--clear-groups"]


def _stop(process: subprocess.Popen[bytes], end_signal: str) -> None:
    process.send_signal(signal.Signals[f"SIG{end_signal}"])
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_tool(
    command: Sequence[str],
    *,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
) -> str:
    """Runs a server's tool to its end and returns what it printed."""
    prefix = [] if user is None else ["setpriv", *_as_user(user), "--"]
    done = subprocess.run(
        [*prefix, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **(env or {})},
        timeout=timeout,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerError(
            f"{command[0]} failed, code={done.returncode}: {done.stderr[-_LOG_TAIL:]}"
        )
    return done.stdout


def wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 90.0
) -> None:
    """Waits until the server is ready; an error when it ends before or takes too long."""
    deadline = time.monotonic() + seconds
    while not ready():
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            state = f"ended, code={process.returncode}" if ended else f"not ready in {seconds} s"
            tail = log.read_bytes()[-_LOG_TAIL:].decode("utf-8", "replace")
            raise ServerError(f"{log.stem} {state}; log ends:\n{tail}")
        time.sleep(0.05)
