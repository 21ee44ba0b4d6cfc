"""What only the Java peers can be asked: changes, files and vectors by snapshot, merge functions.

`merge_by` needs no table; everything else reads or writes one at a path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

from .canonical import Json, type_json
from .engine_model import Record, Rules
from .peers import FileInfo, Peer, Rows
from .shapes import Shape

__all__ = [
    "FileEntry",
    "IndexEntry",
    "MergeCase",
    "Merged",
    "Part",
    "SnapshotChanges",
    "VectorRange",
    "Wrapper",
    "changes",
    "delete_rows",
    "index_files",
    "merge_by",
    "option_keys",
    "pack",
    "refusals",
    "snapshot_files",
    "write_stream",
]

Wrapper = Literal[
    "function",
    "reducer",
    "lookup",
    "lookup-reducer",
    "lookup-changelog",
    "full-changelog",
    "first-row",
]
"""How the library calls a merge function; see the functions of `support.engine_model`."""


Part = Literal["live", "delta", "changelog"]
"""Which entries of a snapshot: its files, or those that its own manifests list."""


class SnapshotChanges(TypedDict):
    """What a stream reader got from one snapshot: rows behind their kinds, in reading order."""

    snapshot: int
    rows: list[list[Json]]


class FileEntry(FileInfo):
    """A manifest entry (kind ADD or DELETE) and its file.

    ``records`` are all rows of the file in their places, each behind kind and sequence number
    (+I and -1 in append tables); empty unless asked for.
    """

    kind: str
    records: list[list[Json]]


class VectorRange(TypedDict):
    """Where one data file's vector lies in an index file."""

    file: str
    offset: int
    length: int
    cardinality: int | None


class IndexEntry(TypedDict):
    """An entry of an index manifest; ``deleted`` has the marked positions by data file."""

    kind: str
    partition: str
    bucket: int
    type: str
    name: str
    size: int
    rowCount: int
    ranges: list[VectorRange]
    deleted: dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class MergeCase:
    """Records of one key, in feed order, and what a lookup of the key finds above them."""

    records: Sequence[Record]
    found: Record | None = None


@dataclass(frozen=True, slots=True)
class Merged:
    """What the library made of one case; all levels are 0, as nobody asks for them."""

    result: Record | None
    changelog: tuple[Record, ...]
    error: str | None


def changes(
    peer: Peer,
    path: Path | str,
    *,
    first: int = 1,
    last: int | None = None,
    options: Mapping[str, str] | None = None,
) -> list[SnapshotChanges]:
    """What the library's stream reader yields from snapshot ``first`` to ``last``, both in.

    By default it starts with the changes of ``first``; with the option scan.mode
    from-snapshot-full, with the whole table as of ``first``. Snapshots it passes over are missing.
    """
    found = peer.call(
        "changes", path=str(path), to=last, options=dict(options or {}), **{"from": first}
    )
    return cast("list[SnapshotChanges]", found)


def snapshot_files(
    peer: Peer,
    path: Path | str,
    part: Part,
    *,
    snapshot: int | None = None,
    records: bool = False,
) -> list[FileEntry]:
    """Entries of the latest or the given snapshot; those of a delta in the manifests' order."""
    found = peer.call(
        "snapshot_files", path=str(path), part=part, snapshot=snapshot, records=records
    )
    return [cast(FileEntry, {"records": [], **entry}) for entry in found]


def index_files(peer: Peer, path: Path | str, *, snapshot: int | None = None) -> list[IndexEntry]:
    """The index manifest of the latest or the given snapshot; [] where it has none."""
    return cast("list[IndexEntry]", peer.call("index_files", path=str(path), snapshot=snapshot))


def refusals(peer: Peer, shapes: Sequence[Shape]) -> list[str | None]:
    """Per shape None when the library creates such a table, else what it says against it."""
    schemas = [
        {
            "columns": [{"name": n, "type": type_json(t)} for n, t in shape.columns.items()],
            "primary_keys": list(shape.primary_keys),
            "partition_keys": list(shape.partition_keys),
            "options": dict(shape.options),
        }
        for shape in shapes
    ]
    return cast("list[str | None]", peer.call("validate_schemas", schemas=schemas))


def option_keys(peer: Peer) -> list[str]:
    """The keys of all table options that the library knows, older spellings too."""
    return cast("list[str]", peer.call("option_keys"))


def write_stream(
    peer: Peer,
    path: Path | str,
    batches: Sequence[Rows],
    *,
    user: str = "stream",
    identifier: int = 1,
    options: Mapping[str, str] | None = None,
) -> list[int]:
    """Writes batches with one writer that stays open, and compacts as it sees fit; a commit each.

    Returns the new snapshot ids. Further commits of one user need larger identifiers.
    """
    result = peer.call(
        "write_stream",
        path=str(path),
        batches=batches,
        user=user,
        identifier=identifier,
        options=dict(options or {}),
    )
    return cast("list[int]", result["snapshots"])


def delete_rows(peer: Peer, path: Path | str, positions: Mapping[str, Sequence[int]]) -> list[int]:
    """Marks rows of an append table's live data files as deleted, as a DELETE statement does.

    ``positions`` are those of rows in the named files, deleted ones among them too. The table's
    option deletion-vectors.bitmap64 says how wide the vectors are. Returns the new snapshot ids.
    """
    wanted = {name: list(some) for name, some in positions.items()}
    result = peer.call("delete_rows", path=str(path), positions=wanted)
    return cast("list[int]", result["snapshots"])


def pack(peer: Peer, path: Path | str, *, options: Mapping[str, str] | None = None) -> list[int]:
    """One round of a batch job's compaction of an append table without buckets.

    Returns the new snapshot ids, [] when there was nothing to pack.
    """
    result = peer.call("pack", path=str(path), options=dict(options or {}))
    return cast("list[int]", result["snapshots"])


def merge_by(
    peer: Peer,
    rules: Rules,
    cases: Sequence[MergeCase],
    *,
    wrapper: Wrapper = "function",
    ordered: bool = False,
    top_level: int = 5,
    partition_keys: Sequence[str] = (),
) -> list[Merged]:
    """Feeds each case's records to the library's merge function, in one request.

    ``ordered`` sorts them as readers do before; ``top_level`` is for the wrapper full-changelog.
    """
    answers = peer.call(
        "merge",
        columns=[{"name": n, "type": type_json(t)} for n, t in rules.columns.items()],
        primary_keys=list(rules.primary_keys),
        partition_keys=list(partition_keys),
        options=dict(rules.options),
        wrapper=wrapper,
        ordered=ordered,
        max_level=top_level,
        cases=[
            {
                "records": [_wire(record) for record in case.records],
                "high": None if case.found is None else _wire(case.found),
            }
            for case in cases
        ],
    )
    return [_merged(answer) for answer in answers]


def _wire(record: Record) -> list[Any]:
    return [record.kind, record.sequence, record.level, *record.values]


def _merged(answer: dict[str, Any]) -> Merged:
    if "error" in answer:
        return Merged(None, (), answer["error"])
    changelog = tuple(_record(change) for change in answer["changelog"])
    result = answer["result"]
    return Merged(None if result is None else _record(result), changelog, None)


def _record(wire: Sequence[Any]) -> Record:
    kind, sequence, *values = wire
    return Record(kind, sequence, tuple(values))
