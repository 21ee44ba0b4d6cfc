"""What to do with the files of an append bucket: which are joined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .append import (
    Group,
    PackOptions,
    pack_all_ordered,
    pack_all_unordered,
    pack_ordered,
    pack_unordered,
)
from .decision import Bucket, Decision, Mode, PlanOptions, RewritePlan
from .manifest.entry import DataFile
from .options import TableOptions


def decide_append(bucket: Bucket, options: PlanOptions) -> Decision | None:
    """What a packing would do; None when nothing is due."""
    groups = pack(bucket.schema.options, bucket.files, options.mode, bucket.deleted)
    if not groups:
        return None
    rewrites = tuple(RewritePlan(((tuple(f.name for f in group),),)) for group in groups)
    count = sum(len(g) for g in groups)
    reason = f"packing: {count} of {len(bucket.files)} files into {len(groups)} bins"
    return Decision((), rewrites, 0, 0, reason)


def pack(
    options: TableOptions,
    files: Sequence[DataFile],
    mode: Mode,
    deleted: Mapping[str, int] | None = None,
) -> tuple[Group, ...]:
    """Groups of append files to join, by the table's bucket mode.

    Args:
        deleted: rows that deletion vectors take from each file that has one.
    """
    packing = PackOptions.of(options, deleted)
    ordered = options.bucket > 0 and options.append_ordered
    if mode == "full":
        chosen = pack_all_ordered if ordered else pack_all_unordered
    else:
        chosen = pack_ordered if ordered else pack_unordered
    return chosen(files, packing)
