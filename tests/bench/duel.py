"""The daemon beside one pypaimon process that commits to one bucket every second: `make duel`.

Afterwards the table's own metadata files say how it went (`audit.py`), pypaimon reads the rows
back, and they are held against the writer's log. Exit code 0 when everything below was reached.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.audit import Audit, History
from bench.dataset import ROOT
from bench.run import PEER_ROOT

from desilt.daemon.demo.run import demo_config

HOME = ROOT / "duel"
PYTHON = str(PEER_ROOT / "bin" / "python")
STREAM = str(Path(__file__).parent / "pypaimon_stream.py")
DRAIN_SECONDS_MAX = 60
RUNS_MAX, RUNS_MEDIAN, AMPLIFICATION = 8, 6, 7.0
COMPACTIONS_PER_SECOND = 30 / 300


def duel(seconds: int) -> dict[str, Any]:
    """Run it; what is returned is what was found."""
    shutil.rmtree(HOME, ignore_errors=True)
    warehouse, log, rows = HOME / "warehouse", HOME / "sent.jsonl", HOME / "rows.jsonl"
    warehouse.mkdir(parents=True)
    with (HOME / "daemon.log").open("wb") as daemon_log:
        daemon = subprocess.Popen(
            (sys.executable, "-P", "-m", "desilt.daemon", "run", "-c", _config(warehouse)),
            stdout=daemon_log,
            stderr=daemon_log,
        )
        try:
            stream = (PYTHON, "-I", STREAM, "stream", str(warehouse), str(log), str(seconds))
            subprocess.run(stream, check=True)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon_code = daemon.wait(DRAIN_SECONDS_MAX)
    subprocess.run((PYTHON, "-I", STREAM, "dump", str(warehouse), str(rows)), check=True)
    audit = History(warehouse / "duel.db" / "events").audit()
    return {**asdict(audit), **_compared(log, rows), "daemon_exit_code": daemon_code}


def _config(warehouse: Path) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    file = HOME / "desilt.yaml"
    file.write_text(demo_config(str(warehouse), HOME / "state.db", listen))
    return str(file)


def _compared(log: Path, rows: Path) -> dict[str, Any]:
    """Rows that pypaimon reads against what its log says it sent."""
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    sent = {row[0]: row for r in records for row in r.get("rows", ())}
    read = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    errors = [r["error"] for r in records if "error" in r]
    return {
        "writer_commits": sum("acknowledged" in r for r in records),
        "writer_errors": errors,
        "rows_sent": len(sent),
        "rows_read": len(read),
        "rows_equal": read == [sent[key] for key in sorted(sent)],
    }


def shortfalls(found: dict[str, Any], seconds: int) -> list[str]:
    """What was not reached, in words."""
    audit = Audit(**{name: found[name] for name in Audit.__dataclass_fields__})
    checks = {
        f"never more than {RUNS_MAX} sorted runs": audit.sorted_runs_max <= RUNS_MAX,
        f"median sorted runs at most {RUNS_MEDIAN}": audit.sorted_runs_median <= RUNS_MEDIAN,
        f"write amplification at most {AMPLIFICATION}": audit.write_amplification <= AMPLIFICATION,
        "enough COMPACT snapshots": audit.compactions >= int(seconds * COMPACTIONS_PER_SECOND),
        "no writer error": not found["writer_errors"],
        "rows equal": found["rows_equal"],
        "all snapshots are there": audit.missing == 0,
        "the daemon drained": found["daemon_exit_code"] == 0,
    }
    return [text for text, reached in checks.items() if not reached]


def main() -> int:
    """What ``make duel`` runs."""
    parser = argparse.ArgumentParser(description="the daemon beside a pypaimon writer")
    parser.add_argument("--seconds", type=int, default=300)
    seconds: int = parser.parse_args().seconds
    found = duel(seconds)
    print(json.dumps(found, indent=2))
    missed = shortfalls(found, seconds)
    print("reached everything" if not missed else "NOT reached: " + "; ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
