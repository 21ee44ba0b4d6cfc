"""Tables as graphs of names: metadata is real, data files are empty; so a history takes no time.

Everything that can hold a file happens: tags, branches with snapshots and tags of their own,
changelogs, upgrades, index files, statistics, extra files, external paths, rollbacks of both kinds,
expiry, writers that commit long after they wrote. And everything that can be left behind is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from desilt.table import paths
from desilt.table.expire import InUse, Override, apply_expiry, plan_expiry
from desilt.table.handle import TableHandle
from desilt.table.manifest.codec import ManifestMeta, write_manifest, write_manifest_list
from desilt.table.manifest.entry import DataFile, EntryKind, ManifestEntry, entries_frame
from desilt.table.manifest.index import DELETION_VECTORS, IndexEntry, write_index_manifest
from desilt.table.row import encode_row
from desilt.table.schema import columns_of, dump_schema, new_schema
from desilt.table.snapshot import Snapshot, dump_snapshot, load_snapshot
from desilt.table.stats import EMPTY_STATS
from desilt.table.storage import TEMPORARY_SUFFIX

from .builders import ManualClock, world
from .memory import MemoryStorage

T = TypeVar("T")

ROOT = "/w/db.db/t"
EXTERNAL = "/elsewhere/t"
MAIN = ROOT

# How often each happens, of a hundred.
ACTS = {
    "append": 20, "compact": 9, "upgrade": 5, "vectors": 5, "statistics": 2, "tag": 6, "untag": 4,
    "branch": 5, "branch tag": 2, "drop branch": 2, "consumer": 2, "rollback": 3,
    "rollback as latest": 3, "rollback to tag": 2, "leave": 14, "late": 4, "expire": 5, "wait": 7,
}  # fmt: skip


@dataclass(frozen=True)
class State:
    """What one snapshot holds."""

    live: tuple[ManifestEntry, ...] = ()
    metas: tuple[ManifestMeta, ...] = ()
    index: tuple[IndexEntry, ...] = ()
    index_manifest: str | None = None
    statistics: str | None = None


@dataclass
class Graph:
    """One table and what happens to it. ``history``: of every root (main, branches), what each
    snapshot file's content holds."""

    seed: int
    rng: Random = field(init=False)
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.rng = rng = Random(self.seed)
        self.partitioned = rng.random() < 0.4
        self.external = rng.random() < 0.2
        self.decoupled = not self.external and rng.random() < 0.3
        self.producer = rng.random() < 0.4
        self.storage = MemoryStorage(self.clock.now, in_flight=rng.choice([1, 1, 4]))
        self.handle = TableHandle("db.t", ROOT, self.storage, world(self.clock))
        self.count = 0
        self.states: dict[bytes, State] = {}
        self.in_use = InUse(tasks=frozenset({self.uuid()}))
        self.written: list[ManifestEntry] = []
        self._schema()
        self.append(MAIN)

    def _schema(self) -> None:
        options = {"bucket": "1", "snapshot.time-retained": "1 min"}
        if self.producer:
            options["changelog-producer"] = "input"
        if self.decoupled:
            options |= {"changelog.num-retained.min": "4", "changelog.num-retained.max": "6"}
        columns = columns_of({"k": "INT NOT NULL", "p": "INT NOT NULL"})
        self.schema = new_schema(
            columns,
            primary_key=["k", "p"] if self.partitioned else ["k"],
            partition_by=["p"] if self.partitioned else [],
            options=options,
            comment=None,
            time_millis=0,
        )
        if self.external:  # writing such tables is refused, so they are made as others make them
            outside = {
                "data-file.external-paths": f"file://{EXTERNAL}",
                "data-file.external-paths.strategy": "round-robin",
            }
            self.schema = replace(self.schema, raw_options={**self.schema.raw_options, **outside})
        self.storage.put(paths.schema_file(ROOT, 0), dump_schema(self.schema))

    # --- names ----------------------------------------------------------------------------------

    def uuid(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def some(self, among: Sequence[T]) -> T:
        return self.rng.choice(among)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def folder(self, value: int, root: str = ROOT) -> str:
        return paths.bucket_dir(root, f"p={value}" if self.partitioned else "", 0)

    # --- what there is --------------------------------------------------------------------------

    def ids(self, root: str) -> list[int]:
        return self._numbers(f"{root}/snapshot", "snapshot-")

    def _numbers(self, folder: str, prefix: str) -> list[int]:
        names = self.storage.files.get(folder, {})
        return sorted(int(n.removeprefix(prefix)) for n in names if n.startswith(prefix))

    def tags(self, root: str) -> list[str]:
        names = self.storage.files.get(f"{root}/tag", {})
        return sorted(n for n in names if n.startswith("tag-"))

    def branches(self) -> list[str]:
        start = f"{ROOT}/branch/"
        found = (f.removeprefix(start).split("/")[0] for f in self.storage.files if start in f)
        return sorted({start + name for name in found})

    def snapshot(self, root: str, snapshot_id: int) -> Snapshot:
        path = paths.snapshot_file(root, snapshot_id)
        return load_snapshot(self.storage.read(path), path)

    def latest(self, root: str) -> tuple[int, State]:
        ids = self.ids(root)
        if not ids:
            return 0, State()
        return ids[-1], self.states[self.snapshot(root, ids[-1]).content]

    # --- committing -----------------------------------------------------------------------------

    def file(self, value: int, level: int = 0, task: str = "") -> ManifestEntry:
        """A new file, written and in nobody's manifest."""
        name = f"data-{task or self.uuid()}-{self.count}.parquet"
        outside = self.external and self.chance(0.6)
        place = f"{self.folder(value, EXTERNAL if outside else ROOT)}/{name}"
        extra = (f"{name}.index",) if self.chance(0.15) else ()
        self.storage.put(place, b"d")
        for beside in extra:
            self.storage.put(f"{place.rpartition('/')[0]}/{beside}", b"x")
        file = DataFile(
            name=name, size_bytes=1, row_count=1, min_key=b"", max_key=b"", min_sequence=0,
            max_sequence=0, schema_id=0, level=level, extra_files=extra,
            external_path=f"file://{place}" if outside else None, file_source=int(level > 0),
        )  # fmt: skip
        return ManifestEntry(EntryKind.ADD, self._partition(value), 0, 1, file)

    def _partition(self, value: int) -> bytes:
        types = self.schema.types(self.schema.partition_keys)
        return encode_row([value] if self.partitioned else [], types)

    def _manifest(self, entries: Sequence[ManifestEntry]) -> tuple[ManifestMeta, ...]:
        if not entries:
            return ()
        frame, name = entries_frame(entries), f"manifest-{self.uuid()}-0"
        data = write_manifest(frame)
        self.storage.put(paths.manifest_file(ROOT, name), data)
        meta = ManifestMeta(name, len(data), len(entries), 0, EMPTY_STATS, 0)
        return (meta,)

    def _list(self, metas: Sequence[ManifestMeta]) -> str:
        name = f"manifest-list-{self.uuid()}-0"
        self.storage.put(paths.manifest_file(ROOT, name), write_manifest_list(metas))
        return name

    def commit(
        self,
        root: str,
        changes: Sequence[ManifestEntry],
        *,
        kind: str = "APPEND",
        changelog: Sequence[ManifestEntry] = (),
        index: tuple[IndexEntry, ...] | None = None,
        statistics: str | None = None,
        onto: State | None = None,
    ) -> None:
        """Publish a snapshot; ``onto``: the state it goes on from, if it is not the latest's."""
        last, before = self.latest(root)
        gone = {_place(e) for e in changes if e.kind is EntryKind.DELETE}
        live = tuple(e for e in before.live if _place(e) not in gone)
        live += tuple(e for e in changes if e.kind is EntryKind.ADD)
        base = before.metas
        if onto is not None or self.chance(0.25):  # merged: what was removed is forgotten
            base = self._manifest(before.live)
        delta = self._manifest(changes)
        state = State(
            live, (*base, *delta), before.index, before.index_manifest,
            statistics or before.statistics,
        )  # fmt: skip
        if onto is not None:
            state = replace(state, index=onto.index, index_manifest=onto.index_manifest)
        if index is not None:
            name = f"index-manifest-{self.uuid()}-0"
            self.storage.put(paths.manifest_file(ROOT, name), write_index_manifest(index))
            state = replace(state, index=index, index_manifest=name)
        self._publish(root, last + 1, state, (base, delta), kind, changelog)

    def _publish(
        self,
        root: str,
        snapshot_id: int,
        state: State,
        parts: tuple[Sequence[ManifestMeta], Sequence[ManifestMeta]],
        kind: str,
        changelog: Sequence[ManifestEntry],
    ) -> None:
        base, delta = parts
        content = dump_snapshot(
            {
                "version": 3, "id": snapshot_id, "schemaId": 0, "commitUser": self.uuid(),
                "baseManifestList": self._list(base), "deltaManifestList": self._list(delta),
                "changelogManifestList": self._list(self._manifest(changelog)) if changelog
                else None,
                "commitIdentifier": 1, "commitKind": kind, "timeMillis": self.clock.now(),
                "totalRecordCount": len(state.live), "deltaRecordCount": 0,
                "indexManifest": state.index_manifest, "statistics": state.statistics,
            }
        )  # fmt: skip
        self.states[content] = state
        self.storage.put(paths.snapshot_file(root, snapshot_id), content)
        self.storage.put(paths.latest_hint(root), str(snapshot_id).encode())

    # --- what happens ---------------------------------------------------------------------------

    def act(self, what: str) -> None:
        self.count += 1
        self.clock.advance(self.rng.choice([60, 600, 3000]))
        root = self.some([MAIN, MAIN, *self.branches()])
        match what:
            case "append":
                self.append(root)
            case "compact":
                self.compact(root)
            case "upgrade":
                self.upgrade(root)
            case "vectors":
                self.vectors(root)
            case "statistics":
                name = f"statistics-{self.uuid()}-0"
                self.storage.put(paths.statistics_file(ROOT, name), b"{}")
                self.commit(root, (), kind="ANALYZE", statistics=name)
            case "tag" | "branch tag":
                self.tag(root if what == "branch tag" else MAIN)
            case "untag" if self.tags(root):
                self.storage.delete([f"{root}/tag/{self.some(self.tags(root))}"])
            case "branch":
                self.branch()
            case "drop branch" if self.branches():
                gone = self.some(self.branches())
                self.storage.delete([p for p in self.storage.paths() if p.startswith(f"{gone}/")])
            case "consumer":
                content = json.dumps({"nextSnapshot": self.some(self.ids(MAIN))}).encode()
                self.storage.put(paths.consumer_file(ROOT, "c"), content)
            case "rollback":
                self.rollback(root)
            case "rollback as latest":
                self.rollback_as_latest(root)
            case "rollback to tag" if self.tags(MAIN):
                self.rollback_to_tag(self.some(self.tags(MAIN)))
            case "leave":
                self.leave()
            case "late":
                # A writer that takes longer than the limit has lost its file.
                there = {path.rpartition("/")[2] for path in self.storage.paths()}
                self.written = [
                    e for e in self.written if there.issuperset({e.file.name, *e.file.extra_files})
                ]
                if self.written:
                    self.commit(root, [self.written.pop(self.rng.randrange(len(self.written)))])
            case "expire" if not self.external:
                self.expire()
            case "wait":
                self.clock.advance(self.some([7200, 90_000]))
            case _:
                pass

    def append(self, root: str) -> None:
        entries = [self.file(self.rng.randrange(2)) for _ in range(self.rng.randint(1, 3))]
        changes = [self.file(0)] if self.producer else []
        self.commit(root, entries, changelog=changes)

    def compact(self, root: str) -> None:
        _, state = self.latest(root)
        if state.live:
            gone = self.rng.sample(state.live, self.rng.randint(1, len(state.live)))
            changes = [replace(e, kind=EntryKind.DELETE) for e in gone]
            changelog = [self.file(0)] if self.producer and self.chance(0.5) else []
            self.commit(root, [*changes, self.file(0, 5)], kind="COMPACT", changelog=changelog)

    def upgrade(self, root: str) -> None:
        _, state = self.latest(root)
        if state.live:
            entry = self.some(state.live)
            moved = replace(entry, file=replace(entry.file, level=entry.file.level + 1))
            self.commit(root, [replace(entry, kind=EntryKind.DELETE), moved], kind="COMPACT")

    def vectors(self, root: str) -> None:
        name = f"index-{self.uuid()}-0"
        self.storage.put(paths.index_file(ROOT, name), b"v")
        entry = IndexEntry(
            kind=EntryKind.ADD, partition=self._partition(0), bucket=0,
            index_type=DELETION_VECTORS, file_name=name, file_size=1, row_count=0, deletions=(),
        )  # fmt: skip
        _, state = self.latest(root)
        kept = state.index if self.chance(0.5) else ()
        self.commit(root, (), kind="OVERWRITE", index=(*kept, entry))

    def tag(self, root: str) -> None:
        content = self.snapshot(root, self.some(self.ids(root))).content
        self.storage.put(paths.tag_file(root, f"t{self.count}"), content)

    def branch(self) -> None:
        """Made from a tag; the branch often lives on without it."""
        root = paths.branch_root(ROOT, f"b{self.count}")
        snapshot = self.snapshot(MAIN, self.some(self.ids(MAIN)))
        self.storage.put(paths.schema_file(root, 0), dump_schema(self.schema))
        self.storage.put(paths.snapshot_file(root, snapshot.id), snapshot.content)
        self.storage.put(paths.tag_file(root, "origin"), snapshot.content)
        if self.chance(0.3):
            self.storage.put(paths.tag_file(ROOT, f"t{self.count}"), snapshot.content)

    def rollback(self, root: str) -> None:
        """Newer snapshots, tags and changelogs go; their files are left behind."""
        target = self.some(self.ids(root))
        gone = [paths.snapshot_file(root, i) for i in self.ids(root) if i > target]
        changelogs = self._numbers(f"{root}/changelog", "changelog-")
        gone += [paths.changelog_file(root, i) for i in changelogs if i > target]
        for tag in self.tags(root):
            path = f"{root}/tag/{tag}"
            if load_snapshot(self.storage.read(path), path).id > target:
                gone.append(path)
        self.storage.put(paths.latest_hint(root), str(target).encode())
        self.storage.delete(gone)

    def rollback_to_tag(self, tag: str) -> None:
        path = f"{ROOT}/tag/{tag}"
        content = self.storage.read(path)
        target = load_snapshot(content, path).id
        if target not in self.ids(MAIN):
            self.storage.put(paths.snapshot_file(ROOT, target), content)
        gone = [paths.snapshot_file(ROOT, i) for i in self.ids(MAIN) if i > target]
        self.storage.put(paths.latest_hint(ROOT), str(target).encode())
        self.storage.put(paths.earliest_hint(ROOT), str(min(self.ids(MAIN))).encode())
        self.storage.delete(gone)

    def rollback_as_latest(self, root: str) -> None:
        _, now = self.latest(root)
        then = self.states[self.snapshot(root, self.some(self.ids(root))).content]
        here, there = {_place(e) for e in now.live}, {_place(e) for e in then.live}
        changes = [replace(e, kind=EntryKind.DELETE) for e in now.live if _place(e) not in there]
        changes += [e for e in then.live if _place(e) not in here]
        self.commit(root, changes, kind="OVERWRITE", onto=then)

    def expire(self) -> None:
        most = self.rng.randint(1, 4)
        override = Override(retain_min=1, retain_max=most, retain_millis=0)
        apply_expiry(plan_expiry(self.handle, override), self.handle)

    # --- what is left behind --------------------------------------------------------------------

    def leave(self) -> None:
        """Files of dead writers and commits, of running tasks, of nobody; some where nobody may
        look."""
        name, task = self.uuid(), self.some(sorted(self.in_use.tasks))
        bucket = self.folder(self.rng.randrange(2))
        left = {
            "data": f"{bucket}/data-{name}-0.parquet",
            "manifest": f"{ROOT}/manifest/manifest-{name}-0",
            "list": f"{ROOT}/manifest/manifest-list-{name}-0",
            "index": f"{ROOT}/index/index-{name}-0",
            "statistics": f"{ROOT}/statistics/stats-{name}-0",
            "snapshot": f"{ROOT}/snapshot/.snapshot-9.{name}{TEMPORARY_SUFFIX}",
            "java": f"{ROOT}/snapshot/.snapshot-9.{name}.tmp",
            "changelog": f"{ROOT}/changelog/.changelog-9.{name}.tmp",
            "task": f"{bucket}/data-{task}-{self.count}.parquet",
            "task manifest": f"{ROOT}/manifest/manifest-{task}-{self.count}",
            "blob": f"{bucket}/{name}.managed.blob",
            "deep": f"{bucket}/deeper/data-{name}-0.parquet",
            "beside": f"{ROOT}/notes-{name}",
            "foreign": f"{ROOT}/other/bucket-0/data-{name}-0.parquet",
            "schema": f"{ROOT}/schema/.schema-9.{name}{TEMPORARY_SUFFIX}",
            "tag": f"{ROOT}/tag/.tag-x.{name}{TEMPORARY_SUFFIX}",
            "consumer": f"{ROOT}/consumer/.consumer-x.{name}{TEMPORARY_SUFFIX}",
            "external": f"{self.folder(0, EXTERNAL)}/data-{name}-0.parquet",
        }
        for branch in self.branches():
            left["branch"] = f"{branch}/snapshot/.snapshot-9.{name}.tmp"
            left["branch changelog"] = f"{branch}/changelog/notes-{name}"
        for kind in self.rng.sample(sorted(left), 4):
            self.storage.put(left[kind], b"left")
        self.written.append(self.file(self.rng.randrange(2)))  # perhaps it is committed yet
        read = self.file(0)
        if self.chance(0.3):
            self.in_use = replace(self.in_use, files=self.in_use.files | {read.file.name})


def _place(entry: ManifestEntry) -> tuple[Any, ...]:
    return entry.partition, entry.bucket, entry.file.level, entry.file.name
