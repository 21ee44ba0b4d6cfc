"""Makes a change visible: before/after files become the next snapshot, or a named refusal.

One attempt, in steps:

1. read the latest snapshot, now; nothing is ever built on a remembered one;
2. on a retry: is our commit among the snapshots since, or are our files live? then it is done;
3. check the premises (inputs live at their level, schema, bucket count, index) and that no level
   would hold overlapping files;
4. write delta manifest and list once, and a base list on the latest snapshot;
5. create ``snapshot-<latest + 1>`` exclusively; if it exists, the race is lost: back to 1 with the
   same data files and, where they fit, the same merged manifests, after a pause;
6. read it back. Engines that publish by "exists?, then rename" may have replaced it: that too is a
   lost race. Read the base once more: if that was replaced meanwhile, its new delta is missing from
   our snapshot and is added back by a commit of its own.

A broken premise is a `CommitConflict`: the manifests of the attempt are removed, data files are the
caller's to remove. What was once visible may be built upon by others, so after a replaced publish
nothing is removed at all (``published_once`` in the error's context says so); sweeping finds out.

Spec: format §13, maintenance §9.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from . import paths
from .commit_files import CommitFiles, CommitRequest, IndexChange
from .errors import (
    CommitConflict,
    FileMissing,
    OutcomeUnknown,
    StorageUnavailable,
    TableError,
    TableMissing,
)
from .handle import TableHandle
from .manifest.entry import ENTRY_SCHEMA, SLIM_SCHEMA, EntryKind, ManifestEntry, frame_entries
from .metadata import MetadataReader
from .premises import check_levels, check_premises, partitions_of
from .schema import TableSchema
from .snapshot import CommitKind, Snapshot, load_snapshot, same_snapshot

RETRIES = 10
"""Lost races before giving up; the table's ``commit.max-retries`` replaces it."""


@dataclass(frozen=True, slots=True)
class CommitOutcome:
    """A published snapshot. ``readded``: entries of replaced foreign snapshots put back."""

    snapshot_id: int
    attempts: int
    lost_races: int
    readded: int = 0


@dataclass(frozen=True, slots=True)
class _Published:
    snapshot: Snapshot
    request: CommitRequest


class Committer:
    """Commits changes to one table; one of these at a time is enough, two are safe.

    Args:
        reader: manifests already read (the observer's); a fresh one by default.
    """

    def __init__(self, handle: TableHandle, reader: MetadataReader | None = None) -> None:
        self._handle = handle
        self.reader = reader or MetadataReader(handle)
        self._last: _Published | None = None
        self._replaced: list[Snapshot] = []

    @property
    def handle(self) -> TableHandle:
        """The table that is committed to."""
        return self._handle

    def commit(self, request: CommitRequest) -> CommitOutcome:
        """Publish the change.

        Raises:
            CommitConflict: a premise broke; manifests of the attempts are removed.
            OutcomeUnknown: the store failed while publishing and cannot be asked; nothing removed.
            StorageUnavailable: the store failed before publishing; manifests removed as far as can.
        """
        self.check_last()
        published = _Attempts(self._handle, self.reader, request).run()
        self._last = _Published(published.snapshot, request)
        self._replaced += published.replaced_bases
        readded = self._readd_replaced()
        return CommitOutcome(
            published.snapshot.id, published.lost_races + 1, published.lost_races, readded
        )

    def check_last(self) -> CommitOutcome | None:
        """Commit our last change again if another engine replaced its snapshot meanwhile.

        None when there was nothing to do. A compaction whose premises broke is dropped: its inputs
        are gone, so their rows are in other files.

        Raises:
            CommitConflict, StorageUnavailable, OutcomeUnknown: as `commit`.
        """
        self._readd_replaced()
        last = self._last
        if last is None:
            return None
        path = paths.snapshot_file(self._handle.root, last.snapshot.id)
        try:
            if self._handle.storage.read(path) == last.snapshot.content:
                return None
        except FileMissing:
            self._last = None  # expired: far behind the latest one
            return None
        ours = paths.manifest_file(self._handle.root, last.snapshot.delta_manifest_list)
        if not self._handle.storage.exists(ours):
            self._last = None  # dropped with all its files: another table stands here now
            return None
        try:
            published = _Attempts(
                self._handle, self.reader, last.request, published_once=True
            ).run()
        except CommitConflict:
            self._last = None
            if last.request.kind is not CommitKind.COMPACT:
                raise
            return None
        self._last = _Published(published.snapshot, last.request)
        return CommitOutcome(
            published.snapshot.id, published.lost_races + 1, published.lost_races + 1
        )

    # --- a base that was replaced under us ------------------------------------------------------

    def _readd_replaced(self) -> int:
        """Add back what snapshots changed that took our base's place after we had read it.

        Our own commit stands whatever happens here; what fails is tried again next time.
        """
        readded = 0
        while self._replaced:
            try:
                readded += self._readd(self._replaced[0])
            except TableError:
                return readded
            self._replaced.pop(0)
        return readded

    def _readd(self, replacing: Snapshot) -> int:
        if replacing.commit_kind not in (CommitKind.APPEND, CommitKind.OVERWRITE):
            # A compaction that lost its place took no rows with it: its inputs are still live.
            return 0
        latest = self._handle.snapshots.latest()
        if latest is None:
            return 0
        there = _places(self.reader.live(latest))
        entries = self._entries_of(replacing.delta_manifest_list)
        missing = tuple(
            e
            for e in entries
            if (e.kind is EntryKind.ADD) != ((e.file.name, e.file.level) in there)
        )
        index = self._index_of(replacing, latest)
        if not missing and index is None:
            return 0
        told = replacing.changelog_manifest_list if len(missing) == len(entries) else None
        task_id = str(uuid.uuid4())
        request = CommitRequest(
            replacing.commit_kind,
            f"desilt-{task_id}",
            task_id,
            missing,
            changelog=() if told is None else self._entries_of(told),
            index=index,
        )
        _Attempts(self._handle, self.reader, request).run()
        return len(missing) + (0 if index is None else len(index.added))

    def _index_of(self, replacing: Snapshot, latest: Snapshot) -> IndexChange | None:
        """The index files that it changed, unless that is so in the latest snapshot, too."""
        base = self._handle.snapshots.find(replacing.id - 1)
        before = () if base is None else self.reader.index(base)
        after = self.reader.index(replacing)
        now = {e.file_name for e in self.reader.index(latest)}
        kept = {e.file_name for e in before} & {e.file_name for e in after}
        added = tuple(e for e in after if e.file_name not in kept)
        gone = tuple(e.file_name for e in before if e.file_name not in kept)
        if {e.file_name for e in added} <= now and not now & set(gone):
            return None
        return IndexChange(gone, added)

    def _entries_of(self, manifest_list: str) -> tuple[ManifestEntry, ...]:
        metas = self.reader.manifest_list(manifest_list)
        frames = [pl.DataFrame(schema=ENTRY_SCHEMA), *self.reader.wholes(metas)]
        return frame_entries(pl.concat(frames))


@dataclass(frozen=True, slots=True)
class _Success:
    """``replaced_bases``: snapshots found in the place of the base that was built on."""

    snapshot: Snapshot
    lost_races: int
    replaced_bases: tuple[Snapshot, ...] = ()


class _Attempts:
    """One change being tried until it is published or refused."""

    def __init__(
        self,
        handle: TableHandle,
        reader: MetadataReader,
        request: CommitRequest,
        *,
        published_once: bool = False,
    ) -> None:
        self._handle = handle
        self._reader = reader
        self._request = request
        self._files = CommitFiles(handle, reader, request)
        self._published_once = published_once
        self._replaced = published_once
        self._spent: list[str] = []
        self._schemas: dict[int, TableSchema] = {}

    def run(self) -> _Success:
        files = self._files
        try:
            done = self._until_published()
        except OutcomeUnknown:
            raise
        except TableError as error:
            if self._published_once:
                error.at(published_once=True)
            else:
                self._spent += files.change_files + files.attempt_files + files.merge_files
            self._remove(self._spent)
            raise error.at(table=self._handle.name) from error
        self._remove(self._spent if self._replaced else self._spent + files.unused())
        return done

    def _until_published(self) -> _Success:
        schema = self._latest_schema()
        limit = schema.options.number("commit.max-retries", RETRIES)
        if not self._request.rests_on_something:
            self._files.write_change(schema)  # the less there is to do on a base, the better
        since: int | None = None
        for lost in range(limit + 1):
            begun = self._handle.world.now_millis()
            base = self._handle.snapshots.latest(since)
            done = self._done_already(base, since)
            if done is not None:
                return _Success(done, lost)
            since = 0 if base is None else base.id
            published = self._attempt(base)
            if published is not None:
                return _Success(published, lost, self._replacement(base))
            if not self._published_once:
                self._spent += self._files.attempt_files
            self._files.attempt_files.clear()
            self._wait(lost, self._handle.world.now_millis() - begun)
        raise CommitConflict("commit lost too many races", races=limit + 1)

    def _latest_schema(self) -> TableSchema:
        """The newest schema; that it is so is asked each time, its file read once."""
        schema_id = self._handle.latest_schema_id()
        if schema_id not in self._schemas:
            try:
                self._schemas[schema_id] = self._handle.schema(schema_id)
            except FileMissing as error:
                raise TableMissing(
                    "no table here", table=self._handle.name, path=self._handle.root
                ) from error
        return self._schemas[schema_id]

    def _wait(self, lost: int, attempt_millis: int) -> None:
        """10 ms doubling up to 10 s (format §13.2), and up to as much again by chance.

        Where an attempt takes longer, its time is what doubles: others take as long, and whoever
        comes back before they are through loses again.
        """
        first = max(0.01, attempt_millis / 1000)
        seconds = min(first * 2**lost, 10.0)
        self._handle.world.sleep(seconds * (1 + self._handle.world.chance()))

    def _done_already(self, latest: Snapshot | None, since: int | None) -> Snapshot | None:
        """The snapshot that holds our change, if an earlier attempt did get through."""
        if latest is None:
            return None
        if self._published_once and self._files_live(latest):
            return latest
        if since is None:
            return None
        request = self._request
        found = self._handle.snapshots.find(since + 1)  # it could be there and nowhere else
        if (
            found is not None
            and found.commit_user == request.user
            and found.commit_identifier == request.identifier
            and found.commit_kind == request.kind
        ):
            return found
        return None

    def _files_live(self, latest: Snapshot) -> bool:
        """True when somebody built on our snapshot before it was replaced."""
        adds = {
            (e.file.name, e.file.level) for e in self._request.entries if e.kind is EntryKind.ADD
        }
        index = self._request.index
        if self._request.bulk is not None:  # partitions that were dropped: nothing came
            return not _places(self._request.bulk) & _places(self._reader.live(latest))
        vectors = {e.file_name for e in index.added} if index is not None else set[str]()
        return (
            bool(adds or vectors)
            and adds <= _places(self._reader.live(latest))
            and vectors <= {e.file_name for e in self._reader.index(latest)}
        )

    def _attempt(self, base: Snapshot | None) -> Snapshot | None:
        schema = self._latest_schema()
        if self._request.rests_on_something:
            if base is None:
                raise CommitConflict("the table has no snapshot any more", premise="inputs live")
            self._check(base, schema)
            self._check_partitions(base, schema)
            self._check_manifests(base)
        content = self._files.snapshot(base, schema)
        return self._publish(base, content)

    def _check(self, base: Snapshot, schema: TableSchema) -> None:
        live = self._reader.live(base)
        for premises in self._request.premises:
            index = self._reader.deletion_files(base, premises.partition, premises.bucket)
            check_premises(premises, schema, live, index)
            if schema.keyed:
                key_types = schema.types(schema.trimmed_keys)
                check_levels(self._request.entries, premises, live, key_types)

    def _check_partitions(self, base: Snapshot, schema: TableSchema) -> None:
        if not self._request.partitions:
            return
        live = partitions_of(self._reader.live(base))
        index = self._reader.index(base)
        for premise in self._request.partitions:
            of_it = [e for e in index if e.partition == premise.partition]
            premise.check(
                schema, live.get(premise.partition, pl.DataFrame(schema=SLIM_SCHEMA)), of_it
            )

    def _check_manifests(self, base: Snapshot) -> None:
        """Whoever merged them meanwhile did our work."""
        there = {m.name for m in self._reader.manifests(base)}
        gone = set(self._request.merged or ()) - there
        if gone:
            raise CommitConflict("a manifest is merged already", file=min(gone))

    def _publish(self, base: Snapshot | None, content: bytes) -> Snapshot | None:
        handle = self._handle
        snapshot_id, before = (1, None) if base is None else (base.id + 1, base.content)
        path = paths.snapshot_file(handle.root, snapshot_id)
        try:
            created = handle.publisher.publish(handle.place, snapshot_id, content, before)
        except StorageUnavailable as error:
            created = self._find_out(path, content, error)
        if not created:
            return None
        self._published_once = True
        found = self._read_back(path)
        if found is None or not same_snapshot(found, content):
            self._replaced = True
            return None
        self._hint(snapshot_id)
        return load_snapshot(found, path)

    def _find_out(self, path: str, content: bytes, error: StorageUnavailable) -> bool:
        """After a lost answer: is the snapshot there, and is it ours?"""
        try:
            return same_snapshot(self._handle.storage.read(path), content)
        except FileMissing:
            if error.context.get("in_doubt"):
                raise OutcomeUnknown(
                    "a publish may still arrive", file=path, table=self._handle.name
                ) from error
            raise error from None  # it was never made
        except StorageUnavailable as again:
            raise OutcomeUnknown(
                "the answer to a publish was lost", file=path, table=self._handle.name
            ) from again

    def _read_back(self, path: str) -> bytes | None:
        try:
            return self._handle.storage.read(path)
        except FileMissing:
            return None
        except StorageUnavailable as error:
            raise OutcomeUnknown(
                "a published snapshot cannot be read back", file=path, table=self._handle.name
            ) from error

    def _replacement(self, base: Snapshot | None) -> tuple[Snapshot, ...]:
        """What stands in the place of the base now, if it is not what was built on."""
        if base is None:
            return ()
        try:
            now = self._handle.snapshots.find(base.id)
        except StorageUnavailable:
            return ()
        return () if now is None or now.content == base.content else (now,)

    def _hint(self, snapshot_id: int) -> None:
        """LATEST is a hint: losing it is harmless, so a failure is too."""
        try:
            self._handle.storage.overwrite(
                paths.latest_hint(self._handle.root), str(snapshot_id).encode()
            )
            if snapshot_id == 1:
                self._handle.storage.overwrite(paths.earliest_hint(self._handle.root), b"1")
        except StorageUnavailable:
            return

    def _remove(self, files: Sequence[str]) -> None:
        """Best effort: what stays is an orphan that the task id finds."""
        try:
            self._handle.storage.delete(files)
        except StorageUnavailable:
            return


def _places(live: pl.DataFrame) -> set[tuple[str, int]]:
    """(name, level) of every live file."""
    return set(zip(live["name"].to_list(), live["level"].to_list(), strict=True))


def upgraded(entry: ManifestEntry, level: int) -> tuple[ManifestEntry, ManifestEntry]:
    """The DELETE and the ADD that move a file to another level, everything else unchanged."""
    moved = replace(entry, kind=EntryKind.ADD, file=replace(entry.file, level=level))
    return removed(entry), moved


def removed(entry: ManifestEntry) -> ManifestEntry:
    """The DELETE of a live entry."""
    return replace(entry, kind=EntryKind.DELETE)
