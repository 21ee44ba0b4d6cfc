"""ADD and DELETE entries folded into live files: pure, over frames.

A file is live when an ADD with its identifier exists and no DELETE with the same identifier does.
The level is part of the identifier, so an upgrade is a DELETE and an ADD of one name.

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
    _check_unique(adds)
    if deletes.height:
        live = adds.join(deletes, on=IDENTITY, how="anti", nulls_equal=True, maintain_order="left")
        if live.height != adds.height - deletes.height:
            _check_unmatched(adds, deletes)
    else:
        live = adds
    return live.drop("_extra")


def _check_unique(adds: pl.DataFrame) -> None:
    twice = adds.filter(pl.struct(IDENTITY).is_duplicated()) if _may_repeat(adds) else adds.clear()
    if twice.height:
        raise CorruptTable("a file was added twice", file=twice["name"][0])


def _may_repeat(adds: pl.DataFrame) -> bool:
    """Cheap first look: names are unique in almost every table."""
    return adds["name"].n_unique() != adds.height


def _check_unmatched(adds: pl.DataFrame, deletes: pl.DataFrame) -> None:
    lost = deletes.join(adds, on=IDENTITY, how="anti", nulls_equal=True)
    if lost.height:
        raise CorruptTable("a file was removed that is not there", file=lost["name"][0])


def cancel(entries: pl.DataFrame) -> pl.DataFrame:
    """Entries of neighbouring manifests with ADD and DELETE pairs taken out.

    A DELETE whose ADD lies in an older manifest stays. Order is kept.
    """
    marked = entries.with_columns(_EXTRA)
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
