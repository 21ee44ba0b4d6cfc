"""Looks at one table again and again, reading no more than what is new.

Nothing changed: the next id is absent, which is one request; right after a change the snapshot hint
is read first, since a busy table may have expired that very id again. Something did: the new
snapshots, their delta manifests, and the manifests of the latest one that were not read before. A
gap, an OVERWRITE or a replaced snapshot needs nothing special, since manifests never change.

An id that is the same may name another snapshot (replaced, rolled back, dropped and made again),
and options may change without any: so every few looks a table is in *doubt*, and its snapshot and
its schema are read although no id has changed.

What manifests forget is counted as it appears: what writing has cost (`spend.py`), and how long a
bucket has not been merged whole (`since_full.py`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from .decision import PlanOptions
from .errors import FileMissing, InvalidRequest, TableError, naming
from .handle import TableHandle
from .health import BucketFacts, Health, health_frame
from .lsm.run import lsm_file
from .lsm.section import overlap_bytes
from .manifest.entry import SLIM_SCHEMA, EntryKind, frame_entries
from .manifest.index import IndexEntry
from .metadata import MetadataReader
from .plan import (
    UNKNOWN_ROWS,
    BucketKey,
    CompactionPlan,
    PlanInput,
    deleted_rows,
    partition_text,
    plan_bucket,
)
from .plan_append import pack
from .schema import TableSchema
from .since_full import Key, SinceFull
from .snapshot import Snapshot
from .spend import Spend
from .storage import side_by_side
from .supported import check_table

# A changed option, a dropped table, or a snapshot that took another's place and id goes unnoticed
# for so long and so many looks, but never longer than the last. What is planned meanwhile is
# checked when it is committed.
DOUBT_SECONDS = 30.0
DOUBT_LOOKS = 8
DOUBT_SECONDS_MAX = 600.0

_ADDED_SCHEMA = {"name": pl.String(), "added_millis": pl.Int64()}
_PER_BUCKET_SCHEMA: dict[str, pl.DataType] = {
    "partition": pl.Binary(),
    "bucket": pl.Int32(),
    "label": pl.String(),
    "overlap_bytes": pl.Int64(),
    "packable_files": pl.Int64(),
    "packable_bytes": pl.Int64(),
    "write_amplification": pl.Float64(),
    "vector_rows": pl.Int64(),
    "commits_since_full": pl.Int64(),
    "full_millis": pl.Int64(),
}


@dataclass(frozen=True, slots=True)
class _Derived:
    """Numbers of one bucket that need its keys or sizes, remembered while its files stay."""

    fingerprint: int
    overlap_bytes: int
    packable_files: int
    packable_bytes: int
    vector_rows: int


READ_AHEAD = 256
"""Snapshots whose deltas are asked for together."""


class TableObserver:
    """What is known of one table; `refresh` brings it up to date."""

    def __init__(self, handle: TableHandle) -> None:
        self.handle = handle
        self.reader = MetadataReader(handle)
        self._snapshot: Snapshot | None = None
        self._schema: TableSchema | None = None
        self._live = pl.DataFrame(schema=SLIM_SCHEMA)
        self._added = pl.DataFrame(schema=_ADDED_SCHEMA)
        self._spend = Spend(self.label)
        self._since_full = SinceFull()
        self._derived: dict[Key, _Derived] = {}
        self._health: Health | None = None
        self._labels: dict[bytes, str] = {}
        self._read_millis = 0
        """When snapshot and schema were read last."""
        # Looks since then. Tables that were found together are not in doubt together.
        self._looks = zlib.crc32(handle.name.encode()) % DOUBT_LOOKS
        self._quiet = False
        """Whether the last look found nothing new."""

    @property
    def snapshot_id(self) -> int | None:
        return None if self._snapshot is None else self._snapshot.id

    @property
    def schema(self) -> TableSchema:
        """The schema in force at the last refresh."""
        if self._schema is None:
            self._load_schema()
        if self._schema is None:
            raise InvalidRequest("refresh first", table=self.handle.name)
        return self._schema

    def refresh(self) -> bool:
        """Catch up; True when there is a snapshot, or a schema with one, that was not seen before.

        Raises:
            TableError: the table cannot be read; what was known stays known.
        """
        try:
            return self._refresh()
        except TableError as error:
            raise error.at(table=self.handle.name) from error

    def _refresh(self) -> bool:
        store = self.handle.snapshots
        if self._same_id() and self._stands():
            self._quiet = True
            return False
        self._quiet = False
        latest = store.latest()
        if (0 if latest is None else latest.id) < max(
            self.snapshot_id or 0, self._spend.upto_snapshot_id
        ):
            self._forget()
        known = self._schema
        self._load_schema()
        if latest is None:
            self._snapshot, self._live = None, pl.DataFrame(schema=SLIM_SCHEMA)
            self._read_millis = self.handle.world.now_millis()
            return False
        self.reader.index(latest)  # kinds that are not understood are refused
        fresh = self._new_snapshots(latest, known)
        added = list(self._account_all(fresh))
        live = self.reader.live(latest)
        self._added = self._added_of(live, added, fresh)
        self._since_full.keep(live, self.schema.options.levels - 1)
        self._live, self._snapshot = live, latest
        self._looks %= DOUBT_LOOKS
        self._read_millis = self.handle.world.now_millis()
        return True

    def _same_id(self) -> bool:
        """Whether the newest snapshot has the id that is known."""
        if self._schema is None:
            return False
        if self._quiet:
            return not self.handle.snapshots.exists((self.snapshot_id or 0) + 1)
        return self.handle.snapshots.latest_id() == self.snapshot_id

    def _stands(self) -> bool:
        """Whether what is known is still true, though no id has changed; read when in doubt."""
        now, known = self.handle.world.now_millis(), self._snapshot
        self._looks += 1
        passed = (now - self._read_millis) / 1000
        due = DOUBT_SECONDS if self._looks >= DOUBT_LOOKS else DOUBT_SECONDS_MAX
        if 0 <= passed < due:
            return True
        again = None if known is None else self.handle.snapshots.find(known.id)
        if known is not None and (again is None or again.content != known.content):
            return False
        if not self._has(self._schema):
            self._schema = None if known is None else self._schema
            return False
        if self._schema is None or self.handle.has_schema(self._schema.id + 1):
            return False
        self._looks, self._read_millis = 0, now
        return True

    def _forget(self) -> None:
        """Ids went back: another table stands here now, with schema ids and bytes of its own."""
        self._snapshot = self._schema = None
        self._live = pl.DataFrame(schema=SLIM_SCHEMA)
        self._added = pl.DataFrame(schema=_ADDED_SCHEMA)
        self._spend = Spend(self.label)
        self._since_full = SinceFull()

    def _load_schema(self) -> None:
        newest = self.handle.latest_schema_id()
        if self._schema is None or self._schema.id != newest:
            schema = self.handle.schema(newest)
            check_table(schema)
            self._schema = schema
            self._derived.clear()
            self._labels.clear()

    def _new_snapshots(self, latest: Snapshot, known: TableSchema | None) -> list[Snapshot]:
        """Snapshots after the last one seen, oldest first; that one too if it was replaced.

        Args:
            known: the schema that was in force at the last look.
        """
        store = self.handle.snapshots
        if self._snapshot is None:
            first = store.earliest_id() or latest.id
        else:
            again = store.find(self._snapshot.id) if latest.id > self._snapshot.id else latest
            same = again is None or again.content == self._snapshot.content
            if not same:
                if not self._has(known):
                    self._forget()
                    self._load_schema()
                    return self._new_snapshots(latest, None)
                self._schema = None
                self._load_schema()
            first = self._snapshot.id + 1 if same else self._snapshot.id
        ids = range(min(first, latest.id), latest.id)
        between = side_by_side(store.find, ids, self.handle.storage.in_flight)
        return [*(s for s in between if s is not None), latest]

    def _has(self, schema: TableSchema | None) -> bool:
        """Whether the table has this very schema; one that was made anew has others."""
        try:
            return schema is not None and self.handle.schema(schema.id) == schema
        except FileMissing:
            return False

    def _account_all(self, fresh: Sequence[Snapshot]) -> Iterator[pl.DataFrame]:
        for at, snapshot in enumerate(fresh):
            if at % READ_AHEAD == 0:
                self.reader.read_ahead(fresh[at : at + READ_AHEAD])
            try:
                yield self._account(snapshot)
            except FileMissing:
                # Expiry removes an old snapshot's manifests first, and then the snapshot.
                if snapshot is fresh[-1]:
                    raise

    def _account(self, snapshot: Snapshot) -> pl.DataFrame:
        """Count what the snapshot wrote; returns its level-0 additions with their time."""
        delta = self.reader.delta(snapshot)
        adds = delta.filter(pl.col("kind") == EntryKind.ADD)
        gone = delta.filter(pl.col("kind") == EntryKind.DELETE)
        new = adds.join(gone, on="name", how="anti")
        self._spend.take(snapshot, new)
        if self.schema.keyed:
            self._since_full.take(snapshot, delta, self.schema.options.levels - 1)
        return adds.filter(pl.col("level") == 0).select(
            "name", added_millis=pl.lit(snapshot.time_millis, dtype=pl.Int64())
        )

    def _added_of(
        self, live: pl.DataFrame, added: Sequence[pl.DataFrame], fresh: Sequence[Snapshot]
    ) -> pl.DataFrame:
        """When each live level-0 file appeared; at the latest with the oldest snapshot seen."""
        known = pl.concat([self._added, *added]).unique("name", keep="first", maintain_order=True)
        level0 = live.filter(pl.col("level") == 0).select("name")
        floor = min((s.time_millis for s in fresh), default=0)
        return level0.join(known, on="name", how="left").with_columns(
            pl.col("added_millis").fill_null(floor)
        )

    # --- health ---------------------------------------------------------------------------------

    def health(self, now_millis: int) -> pl.DataFrame:
        """The health frame of the last refresh: one row per bucket, HEALTH_SCHEMA."""
        return self.measured(now_millis).aged(now_millis)

    def measured(self, now_millis: int) -> Health:
        """The same as it was when it was made: the very same record while nothing has changed."""
        with naming(self.handle.name):
            known, made_from = self._health, (self._snapshot, self._schema)
            if known is None or not known.stands(made_from, now_millis):
                facts = BucketFacts(self._live, self._added, self._per_bucket())
                frame = health_frame(facts, self.schema, self.handle.name, now_millis=now_millis)
                known = self._health = Health(frame, now_millis, made_from)
            return known

    def _per_bucket(self) -> pl.DataFrame:
        """Numbers that need keys: computed anew only for buckets whose files changed."""
        identity = pl.struct("name", "level").hash(7).sum()
        prints = self._live.group_by("partition", "bucket").agg(identity)
        vectors, newest = self._vector_files(), self._newest_at_the_top()
        rows: list[tuple[object, ...]] = []
        derived: dict[Key, _Derived] = {}
        for partition, bucket, fingerprint in prints.iter_rows():
            key = (partition, bucket)
            marking = vectors.get(key, ())
            fingerprint = hash((fingerprint, tuple(e.file_name for e in marking)))
            known = self._derived.get(key)
            if known is None or known.fingerprint != fingerprint:
                known = self._derive(key, marking, fingerprint)
            derived[key] = known
            rows.append(
                (
                    partition,
                    bucket,
                    self.label(partition),
                    known.overlap_bytes,
                    known.packable_files,
                    known.packable_bytes,
                    self._spend.amplification(partition, bucket),
                    known.vector_rows,
                    self._since_full.commits(key),
                    self._since_full.full_millis(key) or newest.get(key),
                )
            )
        self._derived = derived
        return pl.DataFrame(rows, schema=_PER_BUCKET_SCHEMA, orient="row")

    def _newest_at_the_top(self) -> dict[Key, int]:
        """Epoch millis of the newest file at each bucket's highest level, by the writers' clocks:
        about when it was merged whole, where nobody saw it."""
        options = self.schema.options
        if not self.schema.keyed or options.full.interval_millis is None:
            return {}
        world = self.handle.world
        offset = world.creation_millis() - world.now_millis()
        at_top = self._live.filter(pl.col("level") >= options.levels - 1)
        found = at_top.group_by("partition", "bucket").agg(pl.col("creation_millis").max())
        return {
            (partition, bucket): millis - offset
            for partition, bucket, millis in found.iter_rows()
            if millis is not None
        }

    def _derive(self, key: Key, marking: Sequence[IndexEntry], fingerprint: int) -> _Derived:
        chosen = BucketKey(*key).chosen
        files = [e.file for e in frame_entries(self._live.filter(chosen))]
        schema = self.schema
        deleted = deleted_rows(marking)
        if schema.keyed:
            types = schema.types(schema.trimmed_keys)
            overlap = overlap_bytes(lsm_file(f, types) for f in files) if len(files) > 1 else 0
            return _Derived(fingerprint, overlap, 0, 0, _known(deleted))
        groups = pack(schema.options, files, "minor", deleted)
        sizes = [f.size_bytes for group in groups for f in group]
        return _Derived(fingerprint, 0, len(sizes), sum(sizes), _known(deleted))

    def _vector_files(self) -> dict[Key, list[IndexEntry]]:
        """What takes rows from each bucket's files; nothing in tables that have no such vectors."""
        found: dict[Key, list[IndexEntry]] = {}
        if self._snapshot is not None and self.schema.options.deletion_vectors:
            for entry in self.reader.deletion_files(self._snapshot):
                found.setdefault((entry.partition, entry.bucket), []).append(entry)
        return found

    def label(self, partition: bytes) -> str:
        """A partition as text: ``dt=a/hr=1``."""
        if partition not in self._labels:
            self._labels[partition] = partition_text(self.schema, partition)
        return self._labels[partition]

    # --- write amplification --------------------------------------------------------------------

    def spend(self) -> dict[str, list[int]]:
        """Counters by "partition|bucket": bytes appended, bytes written by compactions."""
        return self._spend.counters()

    @property
    def spend_upto_snapshot_id(self) -> int:
        """The newest snapshot that `spend` has counted."""
        return self._spend.upto_snapshot_id

    def restore_spend(self, data: Mapping[str, Sequence[int]], upto_snapshot_id: int) -> None:
        """Put counters back after a restart; snapshots up to that id are not counted again."""
        self._spend.restore(data, upto_snapshot_id)
        self._health = None

    # --- plans ----------------------------------------------------------------------------------

    def buckets(self) -> list[tuple[str, int]]:
        """(partition text, bucket) of every bucket with live files, sorted."""
        pairs = self._live.select("partition", "bucket").unique().iter_rows()
        return sorted((self.label(partition), bucket) for partition, bucket in pairs)

    def plan(
        self,
        partition: str,
        bucket: int,
        task_id: str,
        options: PlanOptions | None = None,
    ) -> CompactionPlan | None:
        """What a compaction of this bucket would do now; None when nothing is due or it is gone."""
        if self._snapshot is None:
            return None
        with naming(self.handle.name):
            self._load_schema()  # it may have changed without a new snapshot
        found = [
            p for p in self._live["partition"].unique().to_list() if self.label(p) == partition
        ]
        given = PlanInput(self._snapshot, self.schema, self._live)
        for raw in found:
            key = BucketKey(raw, bucket)
            try:
                plan = plan_bucket(
                    self.handle, self.reader, given, key, task_id, options or PlanOptions()
                )
            except TableError as error:
                raise error.at(
                    table=self.handle.name, partition=partition, bucket=bucket
                ) from error
            if plan is not None:
                return plan
        return None


def _known(deleted: Mapping[str, int]) -> int:
    """Rows that vectors take, where their writers said how many."""
    return sum(count for count in deleted.values() if count < UNKNOWN_ROWS)
