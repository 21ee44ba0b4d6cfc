"""Holds every request to an object store back a little and counts how many wait, in a process of
its own: ``python -m bench.slow_proxy ENDPOINT SECONDS``.

Says its address on a line; for each line it reads it says, as JSON, the most requests in flight at
once and their average over the time since the last line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from support.proxy import HttpProxy
from support.proxy_faults import Delay, Match


@dataclass(frozen=True, slots=True)
class InFlight:
    """Requests at once; ``average``: the sum of their seconds by the seconds that passed."""

    most: int
    average: float
    requests: int


@dataclass(frozen=True, slots=True)
class SlowProxy:
    """Its other end. ``endpoint``: where clients find it."""

    endpoint: str
    said: IO[str]
    told: IO[str]

    def since_last(self) -> InFlight:
        """What came by since the last call, or the start."""
        self.told.write("\n")
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
        begun = time.monotonic()
        for _ in sys.stdin:
            passed, seen = time.monotonic() - begun, proxy.seen()
            average = sum(one.seconds for one in seen) / passed
            said = {"most": proxy.max_in_flight, "average": average, "requests": len(seen)}
            proxy.forget()
            begun = time.monotonic()
            print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
