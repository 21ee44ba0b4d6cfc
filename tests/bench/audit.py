"""What happened to a table, from its snapshot and manifest files alone: no desilt, no Paimon.

``python -m bench.audit TABLE`` prints it as JSON. Sorted runs are counted after each snapshot: each
level-0 file is one, each higher level with files is one. Write amplification is the bytes of new
file names in APPEND and COMPACT snapshots ÷ those in APPEND snapshots.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import fastavro

ADD = 0
Bucket = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class Audit:
    """One table's history; ``missing`` counts snapshot ids without a file."""

    snapshots: int
    missing: int
    appends: int
    compactions: int
    sorted_runs_max: int
    sorted_runs_median: float
    write_amplification: float
    live_files: int
    rows_in_files: int


class History:
    """Reads a table's metadata files, each once."""

    def __init__(self, table: Path) -> None:
        self._table = table
        self._read: dict[str, list[dict[str, Any]]] = {}

    def audit(self) -> Audit:
        """Walk all snapshots, oldest first."""
        ids = sorted(int(p.name[9:]) for p in self._table.glob("snapshot/snapshot-*"))
        kinds: Counter[str] = Counter()
        written: Counter[str] = Counter()
        runs: list[int] = []
        live: dict[tuple[Bucket, str], tuple[int, int]] = {}
        for number in ids:
            text = (self._table / "snapshot" / f"snapshot-{number}").read_text(encoding="utf-8")
            snapshot = json.loads(text)
            kinds[snapshot["commitKind"]] += 1
            written[snapshot["commitKind"]] += self._new_bytes(snapshot)
            live = self._live(snapshot)
            runs.append(_most_runs(live))
        return Audit(
            snapshots=len(ids),
            missing=(ids[-1] - ids[0] + 1 - len(ids)) if ids else 0,
            appends=kinds["APPEND"],
            compactions=kinds["COMPACT"],
            sorted_runs_max=max(runs, default=0),
            sorted_runs_median=statistics.median(runs) if runs else 0.0,
            write_amplification=sum(written.values()) / max(1, written["APPEND"]),
            live_files=len(live),
            rows_in_files=sum(rows for _, rows in live.values()),
        )

    def _avro(self, name: str) -> list[dict[str, Any]]:
        if name not in self._read:
            with (self._table / "manifest" / name).open("rb") as file:
                self._read[name] = cast("list[dict[str, Any]]", [*fastavro.reader(file)])
        return self._read[name]

    def _entries(self, manifest_list: str) -> list[dict[str, Any]]:
        manifests = self._avro(manifest_list)
        return [e for m in manifests for e in self._avro(m["_FILE_NAME"])]

    def _new_bytes(self, snapshot: dict[str, Any]) -> int:
        """Bytes of names that the snapshot adds and does not delete as well (an upgrade)."""
        delta = self._entries(snapshot["deltaManifestList"])
        gone = {e["_FILE"]["_FILE_NAME"] for e in delta if e["_KIND"] != ADD}
        new = {
            e["_FILE"]["_FILE_NAME"]: e["_FILE"]["_FILE_SIZE"] for e in delta if e["_KIND"] == ADD
        }
        return sum(size for name, size in new.items() if name not in gone)

    def _live(self, snapshot: dict[str, Any]) -> dict[tuple[Bucket, str], tuple[int, int]]:
        """Level and rows of every live file."""
        entries = [
            e for n in ("baseManifestList", "deltaManifestList") for e in self._entries(snapshot[n])
        ]
        live: dict[tuple[Bucket, str, int], tuple[int, int]] = {}
        for entry in entries:
            file = entry["_FILE"]
            bucket = (entry["_PARTITION"], entry["_BUCKET"])
            key = (bucket, file["_FILE_NAME"], file["_LEVEL"])
            if entry["_KIND"] == ADD:
                live[key] = (file["_LEVEL"], file["_ROW_COUNT"])
            else:
                live.pop(key, None)
        return {(bucket, name): value for (bucket, name, _), value in live.items()}


def _most_runs(live: dict[tuple[Bucket, str], tuple[int, int]]) -> int:
    """Sorted runs of the bucket that has the most."""
    runs: Counter[Bucket] = Counter()
    levels: set[tuple[Bucket, int]] = set()
    for (bucket, _), (level, _) in live.items():
        if level == 0:
            runs[bucket] += 1
        else:
            levels.add((bucket, level))
    runs.update(bucket for bucket, _ in levels)
    return max(runs.values(), default=0)


if __name__ == "__main__":
    print(json.dumps(asdict(History(Path(sys.argv[1])).audit()), indent=2))
