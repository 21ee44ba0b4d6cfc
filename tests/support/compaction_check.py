"""One compaction, record by record, against the model of what it read.

What a compaction must make of its input is known exactly, whichever files it picked: the records
of its output with kinds and sequence numbers, the changelog, the rows it marks as deleted. So this
holds for histories whose merged rows depend on when they were compacted, too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .canonical import Json
from .engine_model import (
    Changes,
    Record,
    Rules,
    feed_order,
    first_row_changes,
    full_changes,
    look_up,
    look_up_changes,
    reduce,
)
from .engines import Cell, rules_of
from .histories import Row, alike
from .peer_streams import FileEntry, index_files, snapshot_files
from .peers import Peer
from .shapes import Shape

__all__ = ["differences", "merged_rows"]

Place = tuple[str, int]
"""A partition's bytes and a bucket."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A record at its position in a file."""

    record: Record
    file: str
    position: int


@dataclass
class _Bucket:
    """What one compaction read and wrote in a bucket; records by key."""

    level: int = 0
    merged: dict[str, list[_Stored]] = field(default_factory=dict[str, list[_Stored]])
    moved: dict[str, list[_Stored]] = field(default_factory=dict[str, list[_Stored]])
    others: dict[str, list[_Stored]] = field(default_factory=dict[str, list[_Stored]])
    written: list[Record] = field(default_factory=list[Record])
    gone: set[str] = field(default_factory=set[str])
    top_used: int = 0


def differences(peer: Peer, shape: Shape, cell: Cell, path: Path, snapshot: int) -> list[str]:
    """What is wrong with the compaction that made this snapshot; [] when nothing is.

    All files of the snapshot and of the one before must still be there.
    """
    checked = _Check(peer, shape, cell, path, snapshot)
    found: list[str] = []
    for place, bucket in checked.buckets.items():
        found += checked.compare(place, bucket)
    return found


def merged_rows(peer: Peer, shape: Shape, cell: Cell, path: Path, snapshot: int) -> list[str]:
    """The rows that a batch read of the snapshot must find (see `alike`)."""
    rules = rules_of(shape)
    hidden = cell.engine == "first-row" or (
        cell.vectors and not rules.on("deletion-vectors.merge-on-read")
    )
    files = snapshot_files(peer, path, "live", snapshot=snapshot, records=True)
    marked = _marked(peer, path, snapshot)
    by_key: dict[tuple[Place, str], list[Record]] = {}
    for file in files:
        if hidden and file["level"] == 0:
            continue
        for stored in _stored(file, marked):
            where = (file["partition"], file["bucket"])
            by_key.setdefault((where, _key(rules, stored.record)), []).append(stored.record)
    rows: list[Row] = []
    for records in by_key.values():
        kept = _read(rules, cell, feed_order(rules, records))
        if kept is not None and kept.is_add:
            rows.append(list(rules.comparable(kept.values)))
    return alike(rows)


def _read(rules: Rules, cell: Cell, records: Sequence[Record]) -> Record | None:
    """A merged read: lone records pass, and tables that look up go by one compacted record."""
    if len(records) == 1 or not cell.looks_up:
        return reduce(rules, records)
    return look_up(rules, records)


def _key(rules: Rules, record: Record) -> str:
    return json.dumps([record.values[rules.names.index(name)] for name in rules.primary_keys])


def _marked(peer: Peer, path: Path, snapshot: int) -> dict[str, set[int]]:
    """Deleted positions by data file."""
    found: dict[str, set[int]] = {}
    for entry in index_files(peer, path, snapshot=snapshot) if snapshot else ():
        for name, positions in entry["deleted"].items():
            found.setdefault(name, set()).update(positions)
    return found


def _stored(file: FileEntry, marked: Mapping[str, set[int]]) -> list[_Stored]:
    """The records of a file that no vector marks."""
    deleted = marked.get(file["name"], set())
    return [
        _Stored(_record(wire, file["level"]), file["name"], position)
        for position, wire in enumerate(file["records"])
        if position not in deleted
    ]


def _record(wire: Sequence[Json], level: int) -> Record:
    kind, sequence, *values = wire
    assert isinstance(sequence, int)
    return Record(str(kind), sequence, tuple(values), level)


class _Check:
    """The input and output of one compaction, and the model's answer to it."""

    def __init__(self, peer: Peer, shape: Shape, cell: Cell, path: Path, snapshot: int) -> None:
        self.rules, self.cell = rules_of(shape), cell
        trigger = int(shape.options.get("num-sorted-run.compaction-trigger", "5"))
        self.top = int(shape.options.get("num-levels", str(trigger + 1))) - 1
        before = snapshot_files(peer, path, "live", snapshot=snapshot - 1, records=True)
        delta = snapshot_files(peer, path, "delta", snapshot=snapshot, records=True)
        self.changelog = snapshot_files(peer, path, "changelog", snapshot=snapshot, records=True)
        self.before_marks = _marked(peer, path, snapshot - 1)
        self.after_marks = _marked(peer, path, snapshot)
        self.buckets: dict[Place, _Bucket] = {}
        self._sort(before, delta)

    def _sort(self, before: Sequence[FileEntry], delta: Sequence[FileEntry]) -> None:
        """Puts every record where it belongs: merged, moved up as it was, or not touched."""
        added = {entry["name"] for entry in delta if entry["kind"] == "ADD"}
        removed = {entry["name"] for entry in delta if entry["kind"] == "DELETE"}
        for entry in delta:
            bucket = self.buckets.setdefault((entry["partition"], entry["bucket"]), _Bucket())
            if entry["kind"] == "ADD":
                bucket.level = max(bucket.level, entry["level"])
                if entry["name"] not in removed:
                    bucket.written += [_record(wire, 0) for wire in entry["records"]]
        for file in before:
            bucket = self.buckets.setdefault((file["partition"], file["bucket"]), _Bucket())
            bucket.top_used = max(bucket.top_used, file["level"])
            if file["name"] not in removed:
                target = bucket.others
            elif file["name"] in added:
                target = bucket.moved
            else:
                target = bucket.merged
                bucket.gone.add(file["name"])
            for stored in _stored(file, self.before_marks):
                target.setdefault(_key(self.rules, stored.record), []).append(stored)

    # --- the model's answer ---------------------------------------------------------------------

    def compare(self, place: Place, bucket: _Bucket) -> list[str]:
        if not (bucket.merged or bucket.moved or bucket.written):
            return []
        if bucket.level == 0:
            # Nothing is left, so no file says where it would be: right below what was not read.
            levels = [s.record.level for s in _all(bucket.others)]
            bucket.level = min(levels, default=self.top + 1) - 1
        wrong = self._compare(place, bucket, units=1)
        # The library may run two units before it commits: level 0 goes up, then goes on up.
        return wrong and self._compare(place, bucket, units=2) and wrong

    def _compare(self, place: Place, bucket: _Bucket, *, units: int) -> list[str]:
        kept: list[Record] = []
        changelog: list[Record] = []
        marks: set[tuple[str, int]] = set()
        from_new = any(s.record.level == 0 for s in _all(bucket.merged))
        for key, stored in bucket.merged.items():
            records = feed_order(self.rules, [s.record for s in stored])
            if units == 2:
                changes, found = self._merge_twice(bucket, key, records)
            else:
                changes, found = self._merge(bucket, key, records, looking=from_new)
            if changes.kept is not None:
                kept.append(changes.kept)
            changelog += changes.changelog
            marks |= {(s.file, s.position) for s in found}
        for key, stored in bucket.moved.items():
            records = [s.record for s in stored]
            changes, found = self._move(bucket, key, records)
            changelog += changes.changelog
            marks |= {(s.file, s.position) for s in found}
        return [
            *_compare(self.rules, f"{place} records", bucket.written, kept),
            *_compare(self.rules, f"{place} changelog", self._changelog_of(place), changelog),
            *self._compare_marks(place, bucket, marks),
        ]

    def _merge_twice(
        self, bucket: _Bucket, key: str, records: Sequence[Record]
    ) -> tuple[Changes, list[_Stored]]:
        """A key whose new records are merged first, and then with the others."""
        new = [r for r in records if r.level == 0]
        others = [r for r in records if r.level > 0]
        if not new or not others:
            return self._merge(bucket, key, records, looking=bool(new))
        if self.cell.looks_up:
            return self._merge(bucket, key, records, looking=True)
        first = _read(self.rules, self.cell, new)
        above = [] if first is None else [replace(first, level=1)]
        both = feed_order(self.rules, [*above, *others])
        return self._merge(bucket, key, both, looking=False)

    def _merge(
        self, bucket: _Bucket, key: str, records: Sequence[Record], *, looking: bool
    ) -> tuple[Changes, list[_Stored]]:
        """A rewritten key: what is kept and told, and what was found above and is marked."""
        drops = bucket.level >= bucket.top_used or self.cell.vectors
        if self.cell.looks_up and looking:
            return self._look_up(bucket, key, records, drops=drops)
        if self.cell.producer == "full-compaction" and bucket.level == self.top:
            return full_changes(self.rules, records, self.top), []
        kept = _read(self.rules, self.cell, records)
        return Changes(None if kept is None or (drops and not kept.is_add) else kept), []

    def _move(
        self, bucket: _Bucket, key: str, records: Sequence[Record]
    ) -> tuple[Changes, list[_Stored]]:
        """A key of a file that was only lifted; its record stays, but it may be told."""
        if self.cell.looks_up and records[0].level == 0:
            return self._look_up(bucket, key, records, drops=False)
        if self.cell.producer == "full-compaction" and bucket.level == self.top:
            return full_changes(self.rules, records, self.top), []
        return Changes(None), []

    def _look_up(
        self, bucket: _Bucket, key: str, records: Sequence[Record], *, drops: bool
    ) -> tuple[Changes, list[_Stored]]:
        above = [s for s in bucket.others.get(key, ()) if s.record.level > bucket.level]
        found = min(above, key=lambda s: s.record.level, default=None)
        compacted = any(r.level > 0 for r in records)
        if self.cell.engine == "first-row":
            changes = first_row_changes(self.rules, records, exists=found is not None)
        else:
            changes = look_up_changes(self.rules, records, None if found is None else found.record)
        if drops and changes.kept is not None and not changes.kept.is_add:
            changes = replace(changes, kept=None)
        if self.cell.producer != "lookup":
            changes = replace(changes, changelog=())
        marked = [found] if found is not None and not compacted and self.cell.vectors else []
        return changes, marked

    # --- comparisons ----------------------------------------------------------------------------

    def _changelog_of(self, place: Place) -> list[Record]:
        return [
            _record(wire, 0)
            for file in self.changelog
            if (file["partition"], file["bucket"]) == place
            for wire in file["records"]
        ]

    def _compare_marks(
        self, place: Place, bucket: _Bucket, marks: Iterable[tuple[str, int]]
    ) -> list[str]:
        files = {
            s.file for part in (bucket.merged, bucket.moved, bucket.others) for s in _all(part)
        }
        wanted = {
            (name, position)
            for name in files - bucket.gone
            for position in self.before_marks.get(name, ())
        } | set(marks)
        found = {(name, position) for name in files for position in self.after_marks.get(name, ())}
        if found == wanted:
            return []
        return [f"{place} vectors: extra {found - wanted}, missing {wanted - found}"]


def _all(by_key: Mapping[str, list[_Stored]]) -> list[_Stored]:
    return [stored for some in by_key.values() for stored in some]


def _compare(
    rules: Rules, what: str, found: Sequence[Record], wanted: Sequence[Record]
) -> list[str]:
    left = Counter(_text(rules, record) for record in found)
    right = Counter(_text(rules, record) for record in wanted)
    if left == right:
        return []
    return [f"{what}: extra {list(left - right)[:5]}, missing {list(right - left)[:5]}"]


def _text(rules: Rules, record: Record) -> str:
    values = [record.kind, record.sequence, *rules.comparable(record.values)]
    return json.dumps(values, ensure_ascii=False, sort_keys=True)
