"""A minute of desilt: a writer and the daemon side by side, and a proof at the end.

Three processes that share nothing but the table: the writer (`demo_writer.py`), the daemon as it
would run for real, and this one, which watches (`demo_watch.py`) and compares what the table holds
with the writer's own log (`demo_proof.py`).
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from rich.console import Console

from ..table.catalog import Catalog
from ..table.errors import InvalidRequest
from ..table.table import Table
from .config import load
from .demo_proof import Proof, Sent, prove, read_log
from .demo_watch import Look, Screen, Watcher
from .demo_writer import COLUMNS, COMMIT_SECONDS, PRIMARY_KEY
from .service import rules_of

TABLE = "demo.events"
LOOK_SECONDS = 0.5
# A drain waits for tasks that run; those of the demo take seconds.
DRAIN_SECONDS_MAX = 60.0
LOG_TAIL_LINES = 15


def run_demo(warehouse: str | None = None, seconds: float = 45) -> int:
    """Run the demo; 0 when no row was lost, duplicated or changed, else 1.

    Args:
        warehouse: an existing or new folder, kept; None for a temporary one, kept only on failure.
        seconds: how long the writer streams.
    """
    home = Path(tempfile.mkdtemp(prefix="desilt-demo-"))
    lake = Path(warehouse).absolute() if warehouse is not None else home / "warehouse"
    lake.mkdir(parents=True, exist_ok=True)
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


def demo_config(warehouse: Path, state: Path, listen: str) -> str:
    """The packaged example as YAML, with this demo's places put in."""
    text = Path(__file__).with_name("desilt.yaml").read_text(encoding="utf-8")
    config = cast("dict[str, Any]", yaml.safe_load(text))
    config["catalogs"] = [{"name": "demo", "warehouse": str(warehouse)}]
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
    warehouse: Path
    commits: int

    def run(self) -> bool:
        """Whether the proof holds and all processes ended well."""
        table = Catalog(str(self.warehouse)).create_table(
            TABLE, COLUMNS, primary_key=[PRIMARY_KEY], options={"bucket": "2"}
        )
        config = self.home / "desilt.yaml"
        listen = f"127.0.0.1:{_free_port()}"
        config.write_text(demo_config(self.warehouse, self.home / "state.db", listen))
        url = f"http://{listen}/metrics"
        print(f"warehouse: {self.warehouse}\nmetrics while it runs: {url}", flush=True)
        watcher = Watcher(table, rules_of(load(config)))
        with self._process("daemon", "desilt.daemon", "run", "-c", str(config)) as daemon:
            with self._process("writer", "desilt.daemon.demo_writer", *self._sending(table)) as w:
                self._watch(watcher, url, w, daemon)
            daemon.terminate()
            drained = _ended(daemon)
        if w.returncode != 0:
            self._complain("writer", w.returncode)
        if drained != 0:
            self._complain("daemon", drained)
        sent = read_log(self.home / "sent.jsonl")
        proof = prove(table, sent)
        _report(watcher.look(), sent, proof)
        return proof.holds and sent.batches == self.commits and w.returncode == drained == 0

    def _sending(self, table: Table) -> tuple[str, ...]:
        log = self.home / "sent.jsonl"
        return ("--table", table.path, "--log", str(log), "--commits", str(self.commits))

    def _watch(
        self,
        watcher: Watcher,
        url: str,
        writer: subprocess.Popen[bytes],
        daemon: subprocess.Popen[bytes],
    ) -> None:
        with Screen(Console(), url) as screen:
            while writer.poll() is None and daemon.poll() is None:
                screen.show(watcher.look())
                time.sleep(LOOK_SECONDS)
        writer.wait()

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


def _ended(daemon: subprocess.Popen[bytes]) -> int:
    try:
        return daemon.wait(DRAIN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        daemon.kill()
        return daemon.wait()


def _report(look: Look, sent: Sent, proof: Proof) -> None:
    written = look.appended_files
    amplification = max(look.buckets["write_amplification"].drop_nulls().to_list(), default=None)
    print(f"the writer sent {sent.events} events in {sent.batches} commits, {written} files")
    print(
        f"without desilt: {written} files, {look.appends} sorted runs in a bucket; "
        f"with it: {look.files} files, at most {look.sorted_runs_max} sorted runs"
    )
    cost = f", write amplification {amplification:.1f}" if amplification is not None else ""
    print(f"{look.compactions} COMPACT snapshots beside {look.appends} of the writer{cost}")
    print(f"proof {'holds' if proof.holds else 'FAILS'}: {proof}")
