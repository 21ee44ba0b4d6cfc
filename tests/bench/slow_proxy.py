"""Holds every request to an object store back a little and counts how many wait, in a process of
its own: ``python -m bench.slow_proxy ENDPOINT SECONDS``.

Says its address on a line. Each line it reads is a number and a pattern of paths; for it it says,
as JSON, what came by since the last line: see `InFlight`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO

from support.in_flight import kept_in_flight
from support.proxy import HttpProxy, Seen
from support.proxy_faults import Delay, Match


@dataclass(frozen=True, slots=True)
class InFlight:
    """Requests at once; ``kept``: see `kept_in_flight`, of the first for each of so many paths."""

    most: int
    kept: float
    requests: int


@dataclass(frozen=True, slots=True)
class SlowProxy:
    """Its other end. ``endpoint``: where clients find it."""

    endpoint: str
    said: IO[str]
    told: IO[str]

    def since_last(self, count: int = 0, pattern: str = "") -> InFlight:
        """What came by since the last call, or the start.

        Args:
            count: of those paths that match, how many are asked for at a time.
        """
        self.told.write(f"{count} {pattern}\n")
        self.told.flush()
        return InFlight(**json.loads(self.said.readline()))


@contextmanager
def slowed(endpoint: str, seconds: float) -> Generator[SlowProxy]:
    """A proxy as long as the block lasts."""
    command = (sys.executable, "-P", "-m", "bench.slow_proxy", endpoint, str(seconds))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield SlowProxy(process.stdout.readline().strip(), process.stdout, process.stdin)
    finally:
        process.stdin.close()
        process.wait(30)


def main() -> None:
    """See the module."""
    endpoint, seconds = sys.argv[1:]
    with HttpProxy(endpoint) as proxy:
        proxy.on(Match(), Delay(float(seconds)), times=None)
        print(proxy.endpoint, flush=True)
        for line in sys.stdin:
            count, _, pattern = line.rstrip("\n").partition(" ")
            firsts = _firsts(proxy.seen(Match("GET", path=pattern)))[: int(count)]
            said = InFlight(proxy.max_in_flight, kept_in_flight(firsts), len(proxy.seen()))
            proxy.forget()
            print(json.dumps(asdict(said)), flush=True)


def _firsts(seen: list[Seen]) -> list[Seen]:
    """The first request of each path, in their order."""
    firsts: dict[str, Seen] = {}
    for one in sorted(seen, key=lambda one: one.begun):
        firsts.setdefault(one.request.path, one)
    return list(firsts.values())


if __name__ == "__main__":
    main()
