"""The real daemon as a process, as tests start it, ask it and end it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Daemon", "children", "gone", "rss_bytes", "wait_for"]

WAIT_SECONDS = 60.0


class Daemon:
    """`desilt run` in a folder with a desilt.yaml; the log goes to a file there."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "daemon.log"
        with self.log.open("a") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "desilt.daemon", "run", "-c", "desilt.yaml"],
                cwd=folder,
                stderr=stream,
            )

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Lines of the log with this event."""
        parsed = [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]
        return [line for line in parsed if line["event"] == event]

    def get(self, path: str) -> str:
        """What the daemon's server answers."""
        address = self.lines("daemon.started")[-1]["listen"]
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def metric(self, name: str, **labels: str) -> float | None:
        """A metric's value now, summed over labels that are not given; None without a sample."""
        values = [
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics"))
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(values) if values else None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait; the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, when it has ended by itself."""
        return self.process.wait(WAIT_SECONDS)

    def kill(self) -> None:
        """End it, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def wait_for(condition: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Return as soon as the condition holds; a failure if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    """Processes that this one started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def rss_bytes(pid: int) -> int:
    """Memory that the process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
