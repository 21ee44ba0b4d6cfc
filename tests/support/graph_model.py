"""What readers of a table in memory reach, straight from the definition; nothing of the product's.

A file is *needed* when a reader of some snapshot, tag, branch or changelog opens it; it is *named*
when metadata that somebody can read speaks of it at all.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import fastavro

from .graphs import EXTERNAL, ROOT, Graph

HOLDER = re.compile(
    rf"{ROOT}/(?:branch/branch-[^/]+/)?(?:snapshot/snapshot-\d+|changelog/changelog-\d+|tag/tag-.+)"
)


@dataclass
class Reached:
    """Names of files, and those holders themselves."""

    needed: set[str] = field(default_factory=set[str])
    named: set[str] = field(default_factory=set[str])


class Reader:
    """Reads one graph's files; contents are remembered by name, as they never change."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[str, list[dict[str, Any]]] = {}

    def holders(self) -> dict[str, Reached]:
        """By the path of what can be read."""
        found = [p for p in self._graph.storage.paths() if HOLDER.fullmatch(p)]
        return {path: self.reached(path) for path in found}

    def reached(self, path: str) -> Reached:
        snapshot: dict[str, Any] = json.loads(self._graph.storage.read(path))
        found = Reached()
        partial = "/changelog/" in path
        for key in ("baseManifestList", "deltaManifestList", "changelogManifestList"):
            name = snapshot.get(key)
            if name is None:
                continue
            changes = key == "changelogManifestList"
            if not self._there(name):
                assert partial or changes, f"{path} has lost its {key}"
                found.named.add(name)
                continue
            entries = self._list(found, name, partial=partial or changes)
            tells = "changelog" if snapshot.get("changelogManifestList") else "delta"
            told = changes or snapshot["commitKind"] == "APPEND"  # others' deltas tell nothing
            if (partial or changes) and "/tag/" not in path and key.startswith(tells) and told:
                found.needed |= {
                    name,
                    *(e["_FILE"]["_FILE_NAME"] for e in entries if not e["_KIND"]),
                }
            elif not partial and not changes:
                found.needed.add(name)
        if not partial:
            both = [snapshot["baseManifestList"], snapshot["deltaManifestList"]]
            found.needed |= _live([e for name in both for e in self._list(Reached(), name)])
            for name in both:
                found.needed |= {line["_FILE_NAME"] for line in self._records(name)}
            self._rest(found, snapshot)
        elif (name := snapshot.get("indexManifest")) and self._there(name):
            found.named |= {e["_FILE_NAME"] for e in self._records(name)}
        found.named |= {snapshot[k] for k in ("indexManifest", "statistics") if snapshot.get(k)}
        found.named |= found.needed
        return found

    def _rest(self, found: Reached, snapshot: dict[str, Any]) -> None:
        if name := snapshot.get("indexManifest"):
            found.needed |= {name, *(e["_FILE_NAME"] for e in self._records(name))}
        if name := snapshot.get("statistics"):
            found.needed.add(name)

    def _list(self, found: Reached, name: str, *, partial: bool = False) -> list[dict[str, Any]]:
        """All entries below a list; what they name is noted."""
        found.named.add(name)
        entries: list[dict[str, Any]] = []
        for line in self._records(name):
            manifest = line["_FILE_NAME"]
            found.named.add(manifest)
            if not partial or self._there(manifest):
                entries += self._records(manifest)
        for entry in entries:
            found.named |= {entry["_FILE"]["_FILE_NAME"], *entry["_FILE"]["_EXTRA_FILES"]}
        return entries

    def _there(self, name: str) -> bool:
        return self._graph.storage.exists(f"{ROOT}/manifest/{name}")

    def _records(self, name: str) -> list[dict[str, Any]]:
        if name not in self._known:
            data = self._graph.storage.read(f"{ROOT}/manifest/{name}")
            self._known[name] = list(fastavro.reader(io.BytesIO(data)))
        return self._known[name]


def _live(entries: list[dict[str, Any]]) -> set[str]:
    times: Counter[tuple[Any, ...]] = Counter()
    extras: dict[str, list[str]] = {}
    for e in entries:
        name = e["_FILE"]["_FILE_NAME"]
        times[e["_PARTITION"], e["_BUCKET"], e["_FILE"]["_LEVEL"], name] += 1 - 2 * e["_KIND"]
        extras[name] = e["_FILE"]["_EXTRA_FILES"]
    live = {key[3] for key, count in times.items() if count > 0}
    return live.union(*(extras[name] for name in live))


def candidate(graph: Graph, path: str) -> bool:
    """Whether an orphan there may be deleted at all, by the rules of the format."""
    name = path.rpartition("/")[2]
    inside = path.startswith((f"{ROOT}/", f"{EXTERNAL}/"))
    place = path.removeprefix(f"{ROOT}/").removeprefix(f"{EXTERNAL}/").split("/")[:-1]
    if not inside or name.endswith(".managed.blob"):
        return False
    if path.startswith(f"{EXTERNAL}/"):
        return graph.external and _is_bucket(graph, place)
    if place[:1] == ["branch"]:
        place = place[2:]
    elif place in (["manifest"], ["index"], ["statistics"]) or _is_bucket(graph, place):
        return True
    own = name.startswith(("snapshot-", "changelog-")) or name in ("LATEST", "EARLIEST")
    return place in (["snapshot"], ["changelog"]) and not own


def _is_bucket(graph: Graph, place: list[str]) -> bool:
    *partitions, last = place or [""]
    return (
        last.startswith("bucket-")
        and len(partitions) == int(graph.partitioned)
        and all("=" in part for part in partitions)
    )
