"""What a scan would read, and why not more: the plan of a scan as numbers, without reading rows.

The request goes through Polars and through the planner just as a scan's does; only that the plans
of buckets are counted instead of read. The footers of files that are left are read, since row
groups are left out by them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from . import paths
from .data_file import OpenFile
from .file_rows import row_groups
from .handle import TableHandle
from .predicate.tree import columns as columns_of
from .scan import checked_columns, lazy_scan, open_scan
from .scan_buckets import wanted_keys
from .scan_filter import Conjunct, ScanFilter
from .scan_plan import BucketPlan, Cut, Part, Step, Way
from .scan_snapshot import ScanRequest, Scope, SnapshotScan

ROW_GROUPS = "row group"


@dataclass(frozen=True, slots=True)
class Pushed:
    """A conjunct; ``steps``: where it may leave something out. ``applied``: to which rows it is
    applied besides: ``before the merge`` and ``after the merge``, ``as rows are read``, or ``by
    Polars``, which has not handed it over."""

    text: str
    steps: tuple[str, ...]
    applied: str


@dataclass(frozen=True, slots=True)
class Size:
    """How much is read. ``merged_files``: of the files, those that are merged with others."""

    partitions: int = 0
    buckets: int = 0
    files: int = 0
    merged_files: int = 0
    row_groups: int = 0
    bytes: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class ScanExplanation:
    """What a scan reads and leaves out.

    ``total_files`` of the snapshot; ``cuts``: what each step left out of them, in order; ``left``:
    the rest. Its bytes are those of whole files; its rows and row groups are what is read of them,
    where rows that are merged or deleted still count. ``cut_groups``: row groups left out.
    ``manifests``: read, of ``total_manifests``. With a limit, reading stops as soon as there are
    enough rows, which may be sooner than the plan can tell.
    """

    table: str
    snapshot_id: int | None
    columns: tuple[str, ...]
    limit: int | None
    conjuncts: tuple[Pushed, ...]
    total_manifests: int
    manifests: int
    total_files: int
    cuts: tuple[Cut, ...]
    cut_groups: int
    left: Size

    def __str__(self) -> str:
        """A few lines for eyes."""
        limit = "" if self.limit is None else f", at most {self.limit:,} rows"
        lines = [
            f"scan of {self.table}, snapshot {self.snapshot_id}{limit}",
            f"columns: {', '.join(self.columns)}",
            *(f"filter: {c.text}: {', '.join((*c.steps, c.applied))}" for c in self.conjuncts),
            f"manifests: {self.manifests:,} of {self.total_manifests:,}",
            f"files: {self.left.files:,} of {self.total_files:,}",
            *(f"  left out by {_cut_text(cut)}" for cut in self.cuts),
            f"row groups: {self.left.row_groups:,} of {self.left.row_groups + self.cut_groups:,}",
            f"read: {self.left.rows:,} rows of {self.left.bytes:,} bytes in "
            f"{self.left.partitions:,} partitions, {self.left.buckets:,} buckets, "
            f"{self.left.files:,} files, {self.left.merged_files:,} of them merged",
        ]
        return "\n".join(lines)


def _cut_text(cut: Cut) -> str:
    size = "" if cut.bytes is None else f", {cut.bytes:,} bytes"
    return f"{cut.step}: {cut.files:,} files{size}"


def explain_scan(
    handle: TableHandle,
    *,
    columns: Sequence[str] | None = None,
    filter: pl.Expr | None = None,  # Polars' own word
    limit: int | None = None,
    snapshot_id: int | None = None,
) -> ScanExplanation:
    """What `scan_table` with these arguments would read; reads manifests and footers.

    Raises: as `scan_table`.
    """
    scan = open_scan(handle, snapshot_id)
    request = ScanRequest(checked_columns(columns, scan), filter, limit)
    scopes: list[Scope] = []

    def note(scope: Scope) -> Iterator[pl.DataFrame]:
        scopes.append(scope)
        yield pl.DataFrame(schema=scan.schema.polars).select(scope.output)

    lazy_scan(scan, note, request).collect()
    scope = scopes[0] if scopes else scan.scope(request)
    return _explained(scan, scope, request)


def _explained(scan: SnapshotScan, scope: Scope, request: ScanRequest) -> ScanExplanation:
    cuts = list(scope.cuts)
    left, cut_groups = Size(), 0
    partitions: set[bytes] = set()
    for plan in scan.plans(scope):
        cuts += plan.cuts
        size, gone = _measured(scan, scope, plan)
        left, cut_groups = _sum(left, size), cut_groups + gone
        partitions |= {plan.partition} if plan.parts else set()
    # What is read before a limit is reached is known where no predicate decides about rows.
    return ScanExplanation(
        table=scan.handle.name,
        snapshot_id=None if scan.snapshot is None else scan.snapshot.id,
        columns=scope.output,
        limit=request.limit if scope.request.limit is None else scope.request.limit,
        conjuncts=_conjuncts(scan, scope, request),
        total_manifests=scope.found.manifests,
        manifests=scope.found.manifests - scope.found.skipped,
        total_files=scope.found.files,
        cuts=_by_step(cuts),
        cut_groups=cut_groups,
        left=Size(
            len(partitions), left.buckets, left.files, left.merged_files, left.row_groups,
            left.bytes, left.rows,
        ),
    )  # fmt: skip


# --- sizes ----------------------------------------------------------------------------------------


def _measured(scan: SnapshotScan, scope: Scope, plan: BucketPlan) -> tuple[Size, int]:
    """What is read of a bucket, and how many row groups are not."""
    total, gone = Size(buckets=1 if plan.parts else 0), 0
    for part in plan.parts:
        size, cut = _measured_part(scan, scope, plan, part)
        total, gone = _sum(total, size), gone + cut
    return total, gone


def _measured_part(
    scan: SnapshotScan, scope: Scope, plan: BucketPlan, part: Part
) -> tuple[Size, int]:
    sifts = scan.sifts(scope.filter)
    sift = sifts.rows if part.way is Way.ROWS else sifts.keys
    folder = paths.bucket_dir(scan.handle.root, plan.text, plan.bucket)
    groups = rows = gone = 0
    for file in part.files:
        opened = OpenFile(scan.handle, scan.schema, folder, file)
        for may, count in zip(
            row_groups(opened, scan.schema, sift), opened.group_rows(), strict=True
        ):
            groups += 1 if may else 0
            gone += 0 if may else 1
            rows += count if may else 0
    files = len(part.files)
    size = Size(
        files=files,
        merged_files=files if part.way is Way.MERGE else 0,
        row_groups=groups,
        bytes=sum(f.size_bytes for f in part.files),
        rows=rows,
    )
    return size, gone


def _sum(a: Size, b: Size) -> Size:
    return Size(
        a.partitions + b.partitions, a.buckets + b.buckets, a.files + b.files,
        a.merged_files + b.merged_files, a.row_groups + b.row_groups, a.bytes + b.bytes,
        a.rows + b.rows,
    )  # fmt: skip


def _by_step(cuts: Sequence[Cut]) -> tuple[Cut, ...]:
    """One for each step that left anything out."""
    found: list[Cut] = []
    for step in Step:
        own = [c for c in cuts if c.step is step]
        if not own:
            continue
        known = all(c.bytes is not None for c in own)
        found.append(Cut(
            step,
            sum(c.files for c in own),
            sum(c.bytes or 0 for c in own) if known else None,
            sum(c.rows or 0 for c in own) if known else None,
        ))  # fmt: skip
    return tuple(found)


# --- conjuncts ------------------------------------------------------------------------------------


def _conjuncts(scan: SnapshotScan, scope: Scope, request: ScanRequest) -> tuple[Pushed, ...]:
    given = scope.filter
    hashed = wanted_keys(scan.schema, given) is not None
    found = [
        Pushed(c.text, _steps(scan, given, c, hashed=hashed), _applied(scan, given, c))
        for c in given.conjuncts
    ]
    if request.filter is not None and not found:
        found.append(Pushed(str(request.filter), (), "by Polars"))
    return tuple(found)


def _steps(
    scan: SnapshotScan, given: ScanFilter, conjunct: Conjunct, *, hashed: bool
) -> tuple[str, ...]:
    if conjunct in given.on_partitions:
        return (Step.PARTITION.value,)
    if not conjunct.understood:
        return ()
    asked = columns_of(conjunct.tree)
    keys = scan.schema.trimmed_keys
    ranged = conjunct in given.on_keys and not asked.isdisjoint(keys)
    steps = [Step.BUCKET.value] if hashed and not asked.isdisjoint(scan.schema.bucket_keys) else []
    steps += [Step.KEYS.value] if ranged else []
    steps += [Step.STATISTICS.value] if given.asks_statistics else []
    return (*steps, ROW_GROUPS)


def _applied(scan: SnapshotScan, given: ScanFilter, conjunct: Conjunct) -> str:
    if not scan.schema.keyed:
        return "as rows are read"
    return "before the merge" if conjunct in given.on_keys else "after the merge"
