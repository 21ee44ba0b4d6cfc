"""Runs the demo: starts writer and daemon, watches both, and says whether the proof holds."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from rich.console import Console

from ...table.catalog import Catalog
from ...table.errors import InvalidRequest
from ...table.storage import is_remote, normal_path
from ..config import load
from ..service import rules_of
from .kinds import COMMIT_SECONDS, KINDS
from .log import Sent, read_log
from .proof import Proof, prove
from .screen import Screen
from .watch import Look, Watcher

LOOK_SECONDS = 0.5
# What was written last is compacted, told and expired within seconds.
REST_SECONDS_MAX = 60.0
# A drain waits for tasks that run; those of the demo take seconds.
DRAIN_SECONDS_MAX = 60.0
LOG_TAIL_LINES = 15
RETAIN_MAX = 20
SNAPSHOTS = {"retain-min": 5, "retain-max": RETAIN_MAX, "retain-age": "10s"}


def run_demo(warehouse: str | None = None, seconds: float = 45) -> int:
    """Run the demo; 0 when every table holds and tells what was written, else 1.

    Args:
        warehouse: an existing or new folder, or a place in a bucket, kept; None for a temporary
            folder, kept only on failure.
        seconds: how long the writer streams.
    """
    home = Path(tempfile.mkdtemp(prefix="desilt-demo-"))
    lake = normal_path(warehouse if warehouse is not None else str(home / "warehouse"))
    if not is_remote(lake):
        Path(lake).mkdir(parents=True, exist_ok=True)
    demo = _Demo(home, lake, max(1, round(seconds / COMMIT_SECONDS)))
    try:
        holds = demo.run()
    except InvalidRequest:
        shutil.rmtree(home, ignore_errors=True)
        raise
    if holds:
        shutil.rmtree(home, ignore_errors=True)
    else:
        print(f"kept for a look: {home}")
    return 0 if holds else 1


def demo_config(
    warehouse: str, state: Path, listen: str, snapshots: Mapping[str, object] | None = None
) -> str:
    """The packaged example as YAML, with this demo's places put in; ``snapshots``: what stays."""
    text = Path(__file__).parents[1].joinpath("desilt.yaml").read_text(encoding="utf-8")
    config = cast("dict[str, Any]", yaml.safe_load(text))
    config["catalogs"] = [{"name": "demo", "warehouse": warehouse}]
    if snapshots is not None:
        config["policies"] = [{**one, "snapshots": dict(snapshots)} for one in config["policies"]]
        config["scheduler"] = {**config["scheduler"], "expire-interval": "2s"}
    config["state"] = f"sqlite:///{state}"
    config["server"] = {**config.get("server", {}), "listen": listen}
    return yaml.safe_dump(config, sort_keys=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class _Demo:
    home: Path
    warehouse: str
    commits: int

    def run(self) -> bool:
        """Whether the proofs hold and all processes ended well."""
        config, listen = self.home / "desilt.yaml", f"127.0.0.1:{_free_port()}"
        config.write_text(demo_config(self.warehouse, self.home / "state.db", listen, SNAPSHOTS))
        watchers = self._watchers(config)
        url = f"http://{listen}/metrics"
        print(f"warehouse: {self.warehouse}\nmetrics while it runs: {url}", flush=True)
        with self._process("daemon", "desilt.daemon", "run", "-c", str(config)) as daemon:
            with self._process("writer", "desilt.daemon.demo.writer", *self._sending()) as writer:
                looks = _watch(watchers, url, writer, daemon)
            daemon.terminate()
            drained = _ended(daemon)
        for name, code in (("writer", writer.returncode), ("daemon", drained)):
            if code != 0:
                self._complain(name, code)
        sent = read_log(self.home / "sent.jsonl")
        proofs = [
            prove(w.kind, w.table, sent[w.kind.name], w.follower, RETAIN_MAX) for w in watchers
        ]
        for watcher in watchers:
            watcher.leave()
        holds = all(proof.holds for proof in proofs)
        _report(looks, sent, proofs)
        complete = all(one.batches == self.commits for one in sent.values())
        return holds and complete and writer.returncode == drained == 0

    def _watchers(self, config: Path) -> list[Watcher]:
        """The tables, made anew.

        Raises:
            InvalidRequest: one of them exists.
        """
        catalog, rules = Catalog(self.warehouse), rules_of(load(config))
        there = set(catalog.tables()).intersection(kind.name for kind in KINDS)
        if there:
            raise InvalidRequest("table exists already", table=min(there))
        return [
            Watcher(
                kind,
                catalog.create_table(
                    kind.name,
                    kind.columns,
                    primary_key=[kind.key] if kind.keyed else [],
                    options=kind.options,
                ),
                rules,
            )
            for kind in KINDS
        ]

    def _sending(self) -> tuple[str, ...]:
        log = str(self.home / "sent.jsonl")
        return ("--warehouse", self.warehouse, "--log", log, "--commits", str(self.commits))

    @contextmanager
    def _process(self, name: str, *module: str) -> Generator[subprocess.Popen[bytes]]:
        """``python -m …`` with its output in a file; dead when this ends, whatever happens."""
        with (self.home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                (sys.executable, "-P", "-m", *module), stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()

    def _complain(self, name: str, code: int) -> None:
        lines = (self.home / f"{name}.log").read_text(errors="replace").splitlines()
        print(f"the {name} ended with code {code}; its log ends:", file=sys.stderr)
        for line in lines[-LOG_TAIL_LINES:]:
            print(f"  {line}", file=sys.stderr)


def _watch(
    watchers: Sequence[Watcher],
    url: str,
    writer: subprocess.Popen[bytes],
    daemon: subprocess.Popen[bytes],
) -> list[Look]:
    """Show the tables until the writer has ended and all of them rest; the last looks."""
    deadline: float | None = None
    with Screen(Console(), url) as screen:
        while True:
            over = writer.poll() is not None
            looks = [watcher.look() for watcher in watchers]
            screen.show(looks)
            if over:
                deadline = deadline or time.monotonic() + REST_SECONDS_MAX
                if _rest(looks) or time.monotonic() > deadline:
                    return looks
            if daemon.poll() is not None:
                writer.wait()
                return looks
            time.sleep(LOOK_SECONDS)


def _rest(looks: Sequence[Look]) -> bool:
    """Whether the daemon has done all there is to do."""
    return all(look.resting and look.snapshots <= RETAIN_MAX for look in looks)


def _ended(daemon: subprocess.Popen[bytes]) -> int:
    try:
        return daemon.wait(DRAIN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        daemon.kill()
        return daemon.wait()


def _report(looks: Sequence[Look], sent: dict[str, Sent], proofs: Sequence[Proof]) -> None:
    for look, proof in zip(looks, proofs, strict=True):
        one = sent[look.kind.name]
        left = f"files {look.files}"
        if look.kind.keyed:
            left += f", at most {look.sorted_runs} sorted runs in a bucket"
        cost = look.write_amplification
        print(
            f"\n{look.kind.name} ({look.kind.about})\n"
            f"  {one.events} rows in {one.batches} commits, {look.compactions} compactions; {left}"
            + (f"; write amplification {cost:.1f}" if cost is not None else "")
            + f"\n  {'ok' if proof.holds else 'WRONG'}: {proof}"
        )
    print(f"\nproof {'holds' if all(proof.holds for proof in proofs) else 'FAILS'}")
