"""Merges manifests, as much as the limits say, into new ones of about the target size.

What is read and written at one time is one manifest and what is not written yet; of all that a full
merge touches only the slim entries are held.

Spec: format §4.4, §4.5, maintenance §11.6; reference class ``ManifestFileMerger``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from .datatypes import FLOATS, DataType
from .errors import CorruptTable
from .manifest.codec import ManifestMeta, write_manifest
from .manifest.entry import EntryKind
from .manifest.fold import cancel
from .manifest.merge import MergeLimits, full_candidates, minor_groups
from .metadata import MetadataReader
from .row import Row, decode_row, sort_key

# Held against statistics one by one; more of them leave hardly a manifest out.
_PARTITIONS_MAX = 1000
# How much of a target is added before the bytes are counted again.
_STEPS = 8


class Roller:
    """Writes entries, in their order, as manifests that reach the target size but for the last.

    Args:
        store: writes one manifest: its entries, and its bytes.
    """

    def __init__(
        self, target_bytes: int, store: Callable[[pl.DataFrame, bytes], ManifestMeta]
    ) -> None:
        self._target = max(1, target_bytes)
        self._store = store
        self._pending: list[pl.DataFrame] = []
        self._guess = 0.0  # bytes of what is pending, in a manifest
        self._per_entry = 100.0
        self._written: list[ManifestMeta] = []

    def add(self, entries: pl.DataFrame) -> None:
        """Take these entries, and write what is enough for a manifest."""
        at = 0
        while at < entries.height:
            rows = max(1, int(self._target / _STEPS / self._per_entry))
            piece = entries.slice(at, rows)
            at += rows
            self._pending.append(piece)
            self._guess += piece.height * self._per_entry
            if self._guess >= self._target:
                self._roll(last=False)

    def finish(self) -> tuple[ManifestMeta, ...]:
        """Write the rest; all that was written."""
        if self._pending:
            self._roll(last=True)
        return tuple(self._written)

    def _roll(self, *, last: bool) -> None:
        entries = pl.concat(self._pending)
        data = write_manifest(entries)
        self._per_entry = max(1.0, len(data) / entries.height)
        if len(data) < self._target and not last:
            self._pending, self._guess = [entries], float(len(data))
            return
        self._written.append(self._store(entries, data))
        self._pending, self._guess = [], 0.0


@dataclass(frozen=True, slots=True)
class FullMerge:
    """``rewritten`` become their survivors, in this order; ``kept`` stay.

    ``live``: the survivors, by position of the manifest and of the entry in it.
    """

    kept: tuple[ManifestMeta, ...]
    rewritten: tuple[ManifestMeta, ...]
    live: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Merge:
    """Manifests, one behind the other, and what they were merged into."""

    inputs: tuple[ManifestMeta, ...]
    outputs: tuple[ManifestMeta, ...]


def after_merges(metas: Sequence[ManifestMeta], merges: Sequence[Merge]) -> list[ManifestMeta]:
    """The manifests with merges of an earlier attempt in place of what they merged.

    A merge whose inputs are no longer all there, side by side, is left out.
    """
    after = list(metas)
    for merge in merges:
        names = [m.name for m in after]
        wanted = [m.name for m in merge.inputs]
        at = names.index(wanted[0]) if wanted[0] in names else len(names)
        if names[at : at + len(wanted)] == wanted:
            after[at : at + len(wanted)] = merge.outputs
    return after


def merge_manifests(
    metas: Sequence[ManifestMeta],
    limits: MergeLimits,
    partition_types: Sequence[DataType],
    reader: MetadataReader,
    roller: Callable[[], Roller],
    merges: list[Merge] | None = None,
) -> tuple[ManifestMeta, ...]:
    """The base list, with manifests merged as the limits say; ``roller`` makes one that writes.

    Args:
        merges: takes those of neighbours, which `after_merges` uses again.
    """
    full = plan_full(metas, limits, partition_types, reader)
    if full is not None:
        return (*full.kept, *_rewrite(full, reader, roller()))
    merged: list[ManifestMeta] = []
    for group in minor_groups(metas, limits):
        if len(group) == 1:
            merged.append(group[0])
            continue
        out = roller()
        out.add(cancel(pl.concat(list(reader.wholes(group)))))
        written = out.finish()
        merged += written
        if merges is not None:
            merges.append(Merge(tuple(group), written))
    return tuple(merged)


def plan_full(
    metas: Sequence[ManifestMeta],
    limits: MergeLimits,
    partition_types: Sequence[DataType],
    reader: MetadataReader,
) -> FullMerge | None:
    """The full merge that is due, or None: candidates, and others that hold a removed file.

    One manifest alone is not rewritten: it would come out as it is.
    """
    names = {m.name for m in full_candidates(metas, limits)}
    if not names:
        return None
    names |= _touched(
        [m for m in metas if m.name not in names], names, metas, reader, partition_types
    )
    if len(names) < 2:
        return None
    rewritten = tuple(m for m in metas if m.name in names)
    frames = [
        reader.slim(m.name).with_row_index("_at").with_columns(pl.lit(i).alias("_manifest"))
        for i, m in enumerate(rewritten)
    ]
    live = cancel(pl.concat(frames)).filter(pl.col("kind") == EntryKind.ADD)
    kept = tuple(m for m in metas if m.name not in names)
    return FullMerge(kept, rewritten, live.select("_manifest", "_at"))


def _touched(
    others: Sequence[ManifestMeta],
    candidates: set[str],
    metas: Sequence[ManifestMeta],
    reader: MetadataReader,
    partition_types: Sequence[DataType],
) -> set[str]:
    """Those of the others that hold a file which a candidate removes."""
    deleting = [m for m in metas if m.name in candidates and m.deleted_files]
    if not deleting or not others:
        return set()
    removed = pl.concat([reader.slim(m.name) for m in deleting])
    removed = removed.filter(pl.col("kind") == EntryKind.DELETE)
    partitions = [decode_row(p, partition_types) for p in removed["partition"].unique().to_list()]
    wanted = removed.select("name", "level")
    return {
        m.name
        for m in others
        if _may_hold(m, partitions, partition_types)
        and reader.slim(m.name).join(wanted, on=["name", "level"], how="semi").height
    }


def _may_hold(
    meta: ManifestMeta, partitions: Sequence[Row], partition_types: Sequence[DataType]
) -> bool:
    """Whether the manifest's statistics leave room for one of the partitions."""
    types = partition_types
    if not types or len(partitions) > _PARTITIONS_MAX or any(t.root in FLOATS for t in types):
        return True
    try:
        low = decode_row(meta.partition_stats.min_values, types)
        high = decode_row(meta.partition_stats.max_values, types)
    except CorruptTable:
        return True
    lows, highs = sort_key(low, types), sort_key(high, types)
    return any(
        all(
            not value or not least or not most or least <= value <= most
            for value, least, most in zip(sort_key(row, types), lows, highs, strict=True)
        )
        for row in partitions
    )


def _rewrite(full: FullMerge, reader: MetadataReader, out: Roller) -> tuple[ManifestMeta, ...]:
    """Write the survivors, manifest by manifest."""
    rows = full.live.partition_by("_manifest", as_dict=True)
    for number, meta in enumerate(full.rewritten):
        live = rows.get((number,))
        if live is not None:
            out.add(reader.whole(meta.name)[live["_at"].sort()])
    return out.finish()
