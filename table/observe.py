"""Looks at one table again and again, reading no more than what is new.

Nothing changed: the snapshot hint is read, and that the next id is absent. Something did: the new
snapshots, their delta manifests, and the manifests of the latest one that were not read before. A
gap, an OVERWRITE or a replaced snapshot needs nothing special, since manifests never change.

Write amplification is counted from delta manifests as they appear, since manifests forget: bytes
of new file names added by writers, and by compactions; an upgrade adds no name and counts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from .decision import PlanOptions
from .errors import FileMissing, InvalidRequest, TableError, naming
from .handle import TableHandle
from .health import BucketFacts, health_frame
from .lsm.run import lsm_file
from .lsm.section import overlap_bytes
from .manifest.entry import SLIM_SCHEMA, EntryKind, frame_entries
from .manifest.index import IndexEntry
from .metadata import MetadataReader
from .plan import BucketKey, CompactionPlan, PlanInput, deleted_rows, partition_text, plan_bucket
from .plan_append import pack
from .schema import TableSchema
from .snapshot import CommitKind, Snapshot
from .supported import check_table

_ADDED_SCHEMA = {"name": pl.String(), "added_millis": pl.Int64()}
_PER_BUCKET_SCHEMA: dict[str, pl.DataType] = {
    "partition": pl.Binary(),
    "bucket": pl.Int32(),
    "label": pl.String(),
    "overlap_bytes": pl.Int64(),
    "packable_files": pl.Int64(),
    "packable_bytes": pl.Int64(),
    "write_amplification": pl.Float64(),
}


@dataclass(frozen=True, slots=True)
class _Derived:
    """Numbers of one bucket that need its keys or sizes, remembered while its files stay."""

    fingerprint: int
    overlap_bytes: int
    packable_files: int
    packable_bytes: int


class TableObserver:
    """What is known of one table; `refresh` brings it up to date."""

    def __init__(self, handle: TableHandle) -> None:
        self.handle = handle
        self.reader = MetadataReader(handle)
        self._snapshot: Snapshot | None = None
        self._schema: TableSchema | None = None
        self._live = pl.DataFrame(schema=SLIM_SCHEMA)
        self._added = pl.DataFrame(schema=_ADDED_SCHEMA)
        self._spend: dict[str, list[int]] = {}
        self._spend_upto = 0
        self._derived: dict[tuple[bytes, int], _Derived] = {}
        self._labels: dict[bytes, str] = {}

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
        """Catch up; True when there is a snapshot that was not seen before.

        Raises:
            TableError: the table cannot be read; what was known stays known.
        """
        try:
            return self._refresh()
        except TableError as error:
            raise error.at(table=self.handle.name) from error

    def _refresh(self) -> bool:
        store = self.handle.snapshots
        latest_id = store.latest_id()
        if latest_id == self.snapshot_id and (latest_id is not None or self._schema is not None):
            return False
        latest = store.latest()
        if (0 if latest is None else latest.id) < max(self.snapshot_id or 0, self._spend_upto):
            self._forget()
        self._load_schema()
        if latest is None:
            self._snapshot, self._live = None, pl.DataFrame(schema=SLIM_SCHEMA)
            return False
        self.reader.index(latest)  # kinds that are not understood are refused
        fresh = self._new_snapshots(latest)
        added = list(self._account_all(fresh))
        live = self.reader.live(latest)
        self._added = self._added_of(live, added, fresh)
        self._live, self._snapshot = live, latest
        return True

    def _forget(self) -> None:
        """Ids went back: another table stands here now, with schema ids and bytes of its own."""
        self._snapshot = self._schema = None
        self._live = pl.DataFrame(schema=SLIM_SCHEMA)
        self._added = pl.DataFrame(schema=_ADDED_SCHEMA)
        self._spend, self._spend_upto = {}, 0

    def _load_schema(self) -> None:
        newest = self.handle.latest_schema_id()
        if self._schema is None or self._schema.id != newest:
            schema = self.handle.schema(newest)
            check_table(schema)
            self._schema = schema
            self._derived.clear()
            self._labels.clear()

    def _new_snapshots(self, latest: Snapshot) -> list[Snapshot]:
        """Snapshots after the last one seen, oldest first; that one too if it was replaced."""
        store = self.handle.snapshots
        if self._snapshot is None:
            first = store.earliest_id() or latest.id
        else:
            again = store.find(self._snapshot.id) if latest.id > self._snapshot.id else latest
            same = again is None or again.content == self._snapshot.content
            if not same:
                self._schema = None
                self._load_schema()
            first = self._snapshot.id + 1 if same else self._snapshot.id
        between = [store.find(i) for i in range(min(first, latest.id), latest.id)]
        return [*(s for s in between if s is not None), latest]

    def _account_all(self, fresh: Sequence[Snapshot]) -> Iterator[pl.DataFrame]:
        for snapshot in fresh:
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
        if snapshot.id > self._spend_upto:
            column = 1 if snapshot.commit_kind is CommitKind.COMPACT else 0
            sums = new.group_by("partition", "bucket").agg(pl.col("size_bytes").sum())
            for partition, bucket, size in sums.iter_rows():
                counters = self._spend.setdefault(self._spend_key(partition, bucket), [0, 0])
                counters[column] += size
            self._spend_upto = snapshot.id
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
        with naming(self.handle.name):
            facts = BucketFacts(self._live, self._added, self._per_bucket())
            return health_frame(facts, self.schema, self.handle.name, now_millis=now_millis)

    def _per_bucket(self) -> pl.DataFrame:
        """Numbers that need keys: computed anew only for buckets whose files changed."""
        identity = pl.struct("name", "level").hash(7).sum()
        prints = self._live.group_by("partition", "bucket").agg(identity)
        rows: list[tuple[object, ...]] = []
        derived: dict[tuple[bytes, int], _Derived] = {}
        for partition, bucket, fingerprint in prints.iter_rows():
            key = (partition, bucket)
            fingerprint = hash((fingerprint, self._deletion_files(partition, bucket)))
            known = self._derived.get(key)
            if known is None or known.fingerprint != fingerprint:
                known = self._derive(partition, bucket, fingerprint)
            derived[key] = known
            rows.append(
                (
                    partition,
                    bucket,
                    self.label(partition),
                    known.overlap_bytes,
                    known.packable_files,
                    known.packable_bytes,
                    self._amplification(partition, bucket),
                )
            )
        self._derived = derived
        return pl.DataFrame(rows, schema=_PER_BUCKET_SCHEMA, orient="row")

    def _derive(self, partition: bytes, bucket: int, fingerprint: int) -> _Derived:
        chosen = (pl.col("partition") == partition) & (pl.col("bucket") == bucket)
        files = [e.file for e in frame_entries(self._live.filter(chosen))]
        schema = self.schema
        if schema.keyed:
            types = schema.types(schema.trimmed_keys)
            overlap = overlap_bytes(lsm_file(f, types) for f in files) if len(files) > 1 else 0
            return _Derived(fingerprint, overlap, 0, 0)
        deleted = deleted_rows(self._deletion_files(partition, bucket))
        groups = pack(schema.options, files, "minor", deleted)
        sizes = [f.size_bytes for group in groups for f in group]
        return _Derived(fingerprint, 0, len(sizes), sum(sizes))

    def _deletion_files(self, partition: bytes, bucket: int) -> tuple[IndexEntry, ...]:
        """What takes rows from the bucket's files; nothing in tables that have no such vectors."""
        if self._snapshot is None or not self.schema.options.deletion_vectors:
            return ()
        return self.reader.deletion_files(self._snapshot, partition, bucket)

    def label(self, partition: bytes) -> str:
        """A partition as text: ``dt=a/hr=1``."""
        if partition not in self._labels:
            self._labels[partition] = partition_text(self.schema, partition)
        return self._labels[partition]

    # --- write amplification --------------------------------------------------------------------

    def _spend_key(self, partition: bytes, bucket: int) -> str:
        return f"{self.label(partition)}|{bucket}"

    def _amplification(self, partition: bytes, bucket: int) -> float | None:
        appended, compacted = self._spend.get(self._spend_key(partition, bucket), (0, 0))
        return (appended + compacted) / appended if appended else None

    def spend(self) -> dict[str, list[int]]:
        """Counters by "partition|bucket": bytes appended, bytes written by compactions."""
        return {key: list(counters) for key, counters in self._spend.items()}

    @property
    def spend_upto_snapshot_id(self) -> int:
        """The newest snapshot that `spend` has counted."""
        return self._spend_upto

    def restore_spend(self, data: Mapping[str, Sequence[int]], upto_snapshot_id: int) -> None:
        """Put counters back after a restart; snapshots up to that id are not counted again."""
        self._spend = {key: [int(a), int(b)] for key, (a, b) in data.items()}
        self._spend_upto = upto_snapshot_id

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
