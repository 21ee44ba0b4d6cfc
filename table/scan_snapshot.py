"""One snapshot to be scanned: what is asked of it, what would be read of it, and reading that.

Planning looks at metadata alone, bucket by bucket, and gives out plain data; reading does what the
plan of a bucket says before the next one is planned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from .errors import TableError
from .handle import TableHandle
from .lsm.run import LsmFile
from .manifest.entry import SLIM_SCHEMA, frame_entries
from .manifest.index import IndexEntry
from .metadata import LiveFiles, MetadataReader
from .plan import BucketKey, PlanInput, deleted_rows, deletion_files, partition_text, refuse_files
from .predicate.bounds import Mask, may_match
from .predicate.tree import Tree, columns
from .scan_buckets import in_wanted_buckets
from .scan_filter import ScanFilter, tree_of
from .scan_partitions import FilteredPartitions
from .scan_plan import BucketPlan, Cut, FileTests, Part, Step, plan_files, sure_rows
from .scan_read import BucketReader, PredicateSift, Sifts
from .scan_stats import FileStatistics, key_ranges
from .schema import TableSchema
from .snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRequest:
    """What is asked for, in this order: rows that pass ``filter``, ``limit`` of them, of those the
    ones that pass ``after``, in these columns (None: all).

    ``known``: what Polars made of the filter, or of a part of it: rows that pass it pass this, too.
    """

    columns: tuple[str, ...] | None = None
    filter: pl.Expr | None = field(default=None, compare=False)
    known: pl.Expr | None = field(default=None, compare=False)
    limit: int | None = None
    after: pl.Expr | None = field(default=None, compare=False)

    def pushed(
        self, columns: Sequence[str] | None, predicate: pl.Expr | None, n_rows: int | None
    ) -> ScanRequest:
        """The request with what Polars asks of a scan on top: rows, and of those the ones that
        pass its predicate."""
        wanted = self.columns if columns is None else tuple(columns)
        if self.limit is None and self.filter is None and n_rows is None:
            return replace(self, columns=wanted, filter=predicate, known=predicate)
        limits = [n for n in (self.limit, n_rows) if n is not None]
        return replace(self, columns=wanted, limit=min(limits, default=None), after=predicate)


@dataclass(frozen=True, slots=True)
class Scope:
    """What a request leaves of a snapshot as a whole: files by partition and bucket.

    ``live``: their entries, sorted by partition and bucket, with statistics where these are of use.
    """

    request: ScanRequest
    filter: ScanFilter
    output: tuple[str, ...]
    needed: tuple[str, ...]
    found: LiveFiles = field(repr=False)
    live: pl.DataFrame = field(repr=False)
    cuts: tuple[Cut, ...] = ()


class SnapshotScan:
    """Scans one snapshot; ``schema`` is the one rows are returned in.

    Args:
        first_level: files of lower levels are not seen; by default what batch reads see.

    Raises:
        UnsupportedFeature: the snapshot has index files of a kind that is not understood.
    """

    def __init__(
        self,
        handle: TableHandle,
        schema: TableSchema,
        snapshot: Snapshot | None,
        first_level: int | None = None,
    ) -> None:
        self.handle = handle
        self.schema = schema
        self.snapshot = snapshot
        visible = 1 if schema.options.hides_level0 else 0
        self._first_level = visible if first_level is None else first_level
        self._metadata = MetadataReader(handle)
        if snapshot is not None:
            self._metadata.index(snapshot)

    # --- deciding -------------------------------------------------------------------------------

    def scope(self, request: ScanRequest) -> Scope:
        """The files that the request leaves; reads manifests."""
        given = ScanFilter.of(request.known, self.schema)
        output = self.schema.names if request.columns is None else request.columns
        applied = [e for e in (request.filter, request.after) if e is not None]
        asked = {*output, *given.columns, *(n for e in applied for n in e.meta.root_names())}
        found = self._found(given)
        cuts = [Cut(Step.PARTITION, found.files - found.live.height)]
        live = self._cut(found.live, pl.col("level") >= self._first_level, Step.HIDDEN, cuts)
        left = in_wanted_buckets(live, self.schema, given)
        cuts.append(_difference(Step.BUCKET, live, left))
        live = left.sort("partition", "bucket", maintain_order=True)
        if self.snapshot is not None and given.asks_statistics and live.height:
            live = self._metadata.with_stats(self.snapshot, live)
        return Scope(
            request, given, output, tuple(n for n in self.schema.names if n in asked), found, live,
            tuple(c for c in cuts if c.files),
        )  # fmt: skip

    def _found(self, given: ScanFilter) -> LiveFiles:
        if self.snapshot is None:
            return LiveFiles(pl.DataFrame(schema=SLIM_SCHEMA), 0, 0, 0)
        return self._metadata.live_of(self.snapshot, FilteredPartitions(self.schema, given))

    def _cut(self, live: pl.DataFrame, kept: pl.Expr, step: Step, cuts: list[Cut]) -> pl.DataFrame:
        left = live.filter(kept)
        cuts.append(_difference(step, live, left))
        return left

    def plans(self, scope: Scope) -> Iterator[BucketPlan]:
        """What is read of each bucket, and what is not, in order."""
        tests = file_tests(self.handle, self.schema, scope.filter)
        limit = scope.request.limit if scope.request.filter is None else None
        sure = 0
        for key, files in each_bucket(scope.live):
            plan = self.plan(key, files, tests)
            if limit is not None:
                plan, sure = self._limited(plan, sure, limit)
            yield plan

    def plan(self, key: BucketKey, files: pl.DataFrame, tests: FileTests) -> BucketPlan:
        """What is read of one bucket, of which these are the visible files."""
        entries = frame_entries(files)
        refuse_files(entries)
        text = partition_text(self.schema, key.partition)
        try:
            parts, cuts = plan_files([e.file for e in entries], self.schema, tests)
        except TableError as error:
            raise error.at(partition=text, bucket=key.bucket) from error
        return BucketPlan(key.partition, text, key.bucket, parts, cuts)

    def _limited(self, plan: BucketPlan, sure: int, limit: int) -> tuple[BucketPlan, int]:
        """The plan without what comes after enough rows, and how many rows are sure by then."""
        deleted = deleted_rows(self.index(plan))
        parts: list[Part] = []
        over: list[Part] = []
        for part in plan.parts:
            if sure >= limit:
                over.append(part)
                continue
            parts.append(part)
            sure += sure_rows(part, deleted, keyed=self.schema.keyed)
        if not over:
            return plan, sure
        cut = Cut.of(Step.LIMIT, [f for p in over for f in p.files])
        return replace(plan, parts=tuple(parts), cuts=(*plan.cuts, cut)), sure

    def sifts(self, given: ScanFilter) -> Sifts:
        """Which rows of files are read, before they are merged."""
        return Sifts(
            keys=PredicateSift.of(given.on_keys),
            rows=PredicateSift.of(given.beyond_partitions),
        )

    def index(self, plan: BucketPlan) -> tuple[IndexEntry, ...]:
        """Index files with the deletion vectors of a bucket."""
        if self.snapshot is None:
            return ()
        given = PlanInput(self.snapshot, self.schema, pl.DataFrame(schema=SLIM_SCHEMA))
        return deletion_files(self._metadata, given, BucketKey(plan.partition, plan.bucket))

    # --- acting ---------------------------------------------------------------------------------

    def frames(self, scope: Scope) -> Iterator[pl.DataFrame]:
        """The rows that were asked for."""
        request = scope.request
        left = request.limit
        if left == 0:
            return
        for frame in self._rows(scope):
            part = frame if request.filter is None else frame.filter(request.filter)
            if left is not None:
                part = part.head(left)
                left -= part.height
            if request.after is not None:
                part = part.filter(request.after)
            yield part.select(scope.output)
            if left == 0:
                return

    def _rows(self, scope: Scope) -> Iterator[pl.DataFrame]:
        head = scope.request.limit if scope.request.filter is None else None
        reader = BucketReader(self.handle, self.schema, scope.needed, head=head)
        sifts = self.sifts(scope.filter)
        for plan in self.plans(scope):
            yield from self.rows(reader, plan, sifts)

    def rows(self, reader: BucketReader, plan: BucketPlan, sifts: Sifts) -> Iterator[pl.DataFrame]:
        """Merged rows of one bucket, at least those that are wanted."""
        try:
            yield from reader.read(plan, self.index(plan), sifts)
        except TableError as error:
            raise error.at(
                table=self.handle.name, partition=plan.text, bucket=plan.bucket
            ) from error


def file_tests(handle: TableHandle, schema: TableSchema, given: ScanFilter) -> FileTests:
    """What files are held against for a predicate."""
    on_keys, whole = tree_of(given.on_keys), tree_of(given.beyond_partitions)
    keys = _KeyRanges(schema, on_keys) if given.asks_key_ranges else None
    stats = None
    if given.asks_statistics:
        stats = FileStatistics(handle, schema, sorted(columns(whole)))
    return FileTests(keys, stats, on_keys, whole)


@dataclass(frozen=True, slots=True)
class _KeyRanges:
    """A predicate on keys held against key ranges."""

    schema: TableSchema
    tree: Tree

    def files(self, files: Sequence[LsmFile]) -> Mask:
        return may_match(self.tree, key_ranges(files, self.schema))


def each_bucket(live: pl.DataFrame) -> Iterator[tuple[BucketKey, pl.DataFrame]]:
    """Entries bucket by bucket; they must be sorted so."""
    start = 0
    runs = live.select(pl.struct("partition", "bucket").rle().alias("run")).unnest("run")
    for count, place in runs.iter_rows():
        yield BucketKey(place["partition"], place["bucket"]), live.slice(start, count)
        start += count


def _difference(step: Step, before: pl.DataFrame, after: pl.DataFrame) -> Cut:
    def lost(column: str) -> int:
        return int(before.get_column(column).sum()) - int(after.get_column(column).sum())

    return Cut(step, before.height - after.height, lost("size_bytes"), lost("row_count"))
