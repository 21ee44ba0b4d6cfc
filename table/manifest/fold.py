"""ADD and DELETE entries folded into live files: pure, over frames.

A file is live when an ADD with its identifier exists and no DELETE with the same identifier does.
The level is part of the identifier, so an upgrade is a DELETE and an ADD of one name.

After a rollback that published an old state as the newest one, a file may come, go and come again;
then its entries are counted.

Spec: format §4.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ..errors import CorruptTable
from .entry import SLIM_SCHEMA, EntryKind

IDENTITY = ("partition", "bucket", "level", "name", "external_path", "_extra", "embedded_index")

_EXTRA = pl.col("extra_files").list.join("\0").fill_null("").alias("_extra")


def fold(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Live files of a snapshot from the entries of all its manifests, in manifest order.

    Raises:
        CorruptTable: a file added twice, or removed without ever having been added.
    """
    if not frames:
        return pl.DataFrame(schema=SLIM_SCHEMA)
    entries = pl.concat(frames, how="vertical").with_columns(_EXTRA)
    adds = entries.filter(pl.col("kind") == EntryKind.ADD)
    deletes = entries.filter(pl.col("kind") == EntryKind.DELETE)
    if _repeats(adds):
        return _counted(entries, deletes_stay=False).drop("_extra")
    if deletes.height:
        live = adds.join(deletes, on=IDENTITY, how="anti", nulls_equal=True, maintain_order="left")
        if live.height != adds.height - deletes.height:
            _check_unmatched(adds, deletes)
    else:
        live = adds
    return live.drop("_extra")


def _repeats(entries: pl.DataFrame) -> bool:
    """Whether an identifier comes twice. Cheap first look: names are unique in almost any table."""
    return entries["name"].n_unique() != entries.height and bool(
        entries.select(pl.struct(IDENTITY).is_duplicated().any()).item()
    )


def _counted(entries: pl.DataFrame, *, deletes_stay: bool) -> pl.DataFrame:
    """The last entry of each identifier that was added once more than removed, in their order.

    Args:
        deletes_stay: also of those removed once more than added; their ADD is in an older manifest.

    Raises:
        CorruptTable: a file added twice, or removed without being there.
    """
    once = pl.when(pl.col("kind") == EntryKind.ADD).then(1).otherwise(-1)
    rows = entries.with_row_index("_row").with_columns(_times=once)
    net = rows.group_by(IDENTITY).agg(pl.col("_times").sum().alias("_net"))
    rows = rows.join(net, on=IDENTITY, nulls_equal=True, maintain_order="left")
    twice = rows.filter(pl.col("_net") > 1)
    if twice.height:
        raise CorruptTable("a file was added twice", file=twice["name"][0])
    lost = rows.filter(pl.col("_net") < (-1 if deletes_stay else 0))
    if lost.height:
        raise CorruptTable("a file was removed that is not there", file=lost["name"][0])
    stays = rows.filter((pl.col("_net") != 0) & (pl.col("_times") == pl.col("_net")))
    last = stays.unique(IDENTITY, keep="last", maintain_order=True).sort("_row")
    return last.select(entries.columns)


def _check_unmatched(adds: pl.DataFrame, deletes: pl.DataFrame) -> None:
    lost = deletes.join(adds, on=IDENTITY, how="anti", nulls_equal=True)
    if lost.height:
        raise CorruptTable("a file was removed that is not there", file=lost["name"][0])


def cancel(entries: pl.DataFrame) -> pl.DataFrame:
    """Entries of neighbouring manifests with ADD and DELETE pairs taken out.

    A DELETE whose ADD lies in an older manifest stays. Order is kept.
    """
    marked = entries.with_columns(_EXTRA)
    if any(_repeats(marked.filter(pl.col("kind") == kind)) for kind in EntryKind):
        return _counted(marked, deletes_stay=True).drop("_extra")
    paired = (
        marked.filter(pl.col("kind") == EntryKind.DELETE)
        .select(IDENTITY)
        .join(
            marked.filter(pl.col("kind") == EntryKind.ADD).select(IDENTITY),
            on=IDENTITY,
            how="semi",
            nulls_equal=True,
        )
    )
    kept = marked.join(paired, on=IDENTITY, how="anti", nulls_equal=True, maintain_order="left")
    return kept.drop("_extra")
