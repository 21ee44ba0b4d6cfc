"""Histories with fresh seeds, one after the other, until the time is over: `make soak`.

Every play of `support.plays` in turn, in random order. Its name and seed are printed before it
begins, so that even a crash says what it was; a failure is kept under ``build/soak`` with the
table, and the rest goes on. Exit code 0 when nothing failed.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.peers import NEWEST, java_peer, pypaimon_peer
from support.plays import PLAYS, Peers

__all__ = ["Plays", "Soak", "Tally", "chosen", "main", "summary"]

HOME = Path(__file__).resolve().parents[2] / "build" / "soak"
SEEDS = 1 << 31
HEAD_LINES = 12
"""How much of a failure is printed; all of it is kept."""

Plays = Mapping[str, Callable[[int, Peers, Path], None]]


@dataclass(slots=True)
class Tally:
    """What became of one play's histories."""

    histories: int = 0
    failures: int = 0
    seconds: float = 0.0


class Soak:
    """Plays histories and keeps count; ``clock`` and ``say`` are there for tests."""

    def __init__(
        self,
        plays: Plays,
        peers: Peers,
        home: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = print,
    ) -> None:
        self.plays, self.peers, self.home = plays, peers, home
        self.tallies = {name: Tally() for name in plays}
        self.replays: list[str] = []
        self._clock, self._say = clock, say

    def run(self, seconds: float, rng: random.Random) -> None:
        """Plays everything in turn, each time with a seed of its own, until the time is over."""
        begun = self._clock()
        for name in _rounds(list(self.plays), rng):
            passed = self._clock() - begun
            if passed >= seconds:
                return
            self.play(name, rng.randrange(SEEDS), f"{passed:.0f}/{seconds:.0f} s")

    def play(self, name: str, seed: int, when: str) -> None:
        """Plays one history; a failure is counted, kept and told how to be seen again."""
        tally = self.tallies[name]
        done, failed = self._sum()
        self._say(f"[{when}, {done} played, {failed} failed] {name} seed {seed}")
        folder = self.home / f"{name.replace('/', '-')}-{seed}"
        folder.mkdir(parents=True)
        begun = self._clock()
        try:
            self.plays[name](seed, self.peers, folder)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 the rest goes on
            tally.failures += 1
            self._fail(name, seed, folder, traceback.format_exc())
        else:
            shutil.rmtree(folder)
        tally.histories += 1
        tally.seconds += self._clock() - begun

    def _fail(self, name: str, seed: int, folder: Path, text: str) -> None:
        (folder / "failure.txt").write_text(text, encoding="utf-8")
        replay = f"make soak SEED={seed} ROW={name}"
        self.replays.append(replay)
        lines = text.splitlines()
        end = "\n".join(f"    {line[:200]}" for line in lines[-HEAD_LINES:])
        self._say(f"FAILED: {replay}\n{end}\n    all of it and the table: {folder}")

    def _sum(self) -> tuple[int, int]:
        tallies = self.tallies.values()
        return sum(t.histories for t in tallies), sum(t.failures for t in tallies)


def _rounds(names: list[str], rng: random.Random) -> Iterator[str]:
    """Every name once, in random order, and again."""
    while names:
        yield from rng.sample(names, len(names))


def chosen(plays: Plays, row: str) -> Plays:
    """The plays of a row, of one way of it, or all of them.

    Raises:
        SystemExit: there is none of that name.
    """
    found = {n: play for n, play in plays.items() if not row or n == row or n.startswith(f"{row}/")}
    if not found:
        rows = sorted({name.partition("/")[0] for name in plays})
        raise SystemExit(f"no row {row}; there are {', '.join(rows)}")
    return found


def summary(tallies: Mapping[str, Tally], replays: Sequence[str]) -> str:
    """A table of what was played, and how to see each failure again."""
    wide = max(map(len, tallies))
    lines = [f"{'row':{wide}}  histories  failures  seconds"]
    lines += [
        f"{name:{wide}}  {t.histories:9}  {t.failures:8}  {t.seconds:7.1f}"
        for name, t in tallies.items()
    ]
    histories, failures = (
        sum(getattr(t, what) for t in tallies.values()) for what in ("histories", "failures")
    )
    seconds = sum(t.seconds for t in tallies.values())
    lines.append(f"{'all':{wide}}  {histories:9}  {failures:8}  {seconds:7.1f}")
    return "\n".join([*lines, *(f"FAILED: {replay}" for replay in replays)])


def main(arguments: Sequence[str] | None = None) -> int:
    """What ``make soak`` runs."""
    parser = argparse.ArgumentParser(description="random histories with fresh seeds")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, help="one history of this seed, of every play")
    parser.add_argument("--row", default="", help="a row, or <row>/<way>")
    given = parser.parse_args(arguments)
    plays = chosen(PLAYS, given.row)
    shutil.rmtree(HOME, ignore_errors=True)
    with java_peer(NEWEST) as java, pypaimon_peer() as pypaimon:
        soak = Soak(plays, {"java": java, "pypaimon": pypaimon}, HOME)
        try:
            if given.seed is None:
                soak.run(given.seconds, random.Random())
            else:
                for name in plays:
                    soak.play(name, given.seed, "again")
        except KeyboardInterrupt:
            print("interrupted")
    print(summary(soak.tallies, soak.replays))
    return 1 if soak.replays else 0


if __name__ == "__main__":
    sys.exit(main())
