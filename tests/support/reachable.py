"""What a snapshot file reaches, by brute force: one entry after the other, nothing remembered.

Shares no code with the product beyond fastavro; every file of a table is known by its name.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fastavro

from .faulty import files_below


def needed_by(root: str | Path, snapshot_file: str | Path, *, changelog: bool = False) -> set[str]:
    """Names of all files that reading the snapshot needs; ``changelog``: and its changes."""
    snapshot: dict[str, Any] = json.loads(Path(snapshot_file).read_text())
    manifest_dir = Path(root) / "manifest"
    found: set[str] = set()
    entries: list[dict[str, Any]] = []
    for key in ("baseManifestList", "deltaManifestList"):
        found.add(snapshot[key])
        for line in _records(manifest_dir / snapshot[key]):
            found.add(line["_FILE_NAME"])
            entries += _records(manifest_dir / line["_FILE_NAME"])
    found |= _live(entries)
    if index := snapshot.get("indexManifest"):
        found.add(index)
        found |= {entry["_FILE_NAME"] for entry in _records(manifest_dir / index)}
    if statistics := snapshot.get("statistics"):
        found.add(statistics)
    return found | (changes_of(root, snapshot_file) if changelog else set())


def changes_of(root: str | Path, snapshot_file: str | Path) -> set[str]:
    """Names of the snapshot's changelog files and of the metadata that names them."""
    snapshot: dict[str, Any] = json.loads(Path(snapshot_file).read_text())
    name = snapshot.get("changelogManifestList")
    if name is None:
        return set()
    manifest_dir, found = Path(root) / "manifest", {name}
    for line in _records(manifest_dir / name):
        found.add(line["_FILE_NAME"])
        found |= {e["_FILE"]["_FILE_NAME"] for e in _records(manifest_dir / line["_FILE_NAME"])}
    return found


def needed_by_all(root: str | Path, snapshot_files: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for path in snapshot_files:
        found |= needed_by(root, path)
    return found


def names_below(root: str | Path) -> set[str]:
    """Names of all files of data and metadata; not those of snapshots, schemas, tags …"""
    own = ("/schema/", "/snapshot/", "/tag/", "/changelog/", "/consumer/")
    paths = (path.removeprefix(str(root)) for path in files_below(str(root)))
    return {path.rpartition("/")[2] for path in paths if not any(part in path for part in own)}


def _live(entries: Iterable[dict[str, Any]]) -> set[str]:
    times: Counter[tuple[bytes, int, int, str]] = Counter()
    extras: dict[str, set[str]] = {}
    for entry in entries:
        file = entry["_FILE"]
        key = (entry["_PARTITION"], entry["_BUCKET"], file["_LEVEL"], file["_FILE_NAME"])
        times[key] += 1 if entry["_KIND"] == 0 else -1
        extras.setdefault(file["_FILE_NAME"], set()).update(file["_EXTRA_FILES"])
    live = {key[3] for key, count in times.items() if count > 0}
    return live.union(*(extras[name] for name in live))


def _records(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        return list(fastavro.reader(file))
