"""Which manifests of a base list are merged with which: pure decisions over their metadata.

Any choice that keeps the merged set of entries is valid; this one follows Java's, so that tables
look alike whoever commits.

Spec: format §4.5, maintenance §11.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..options import TableOptions
from .codec import ManifestMeta


@dataclass(frozen=True, slots=True)
class MergeLimits:
    """Bytes, bytes, count: the table's `manifest.*` options."""

    target_bytes: int
    full_threshold_bytes: int
    min_count: int

    def at_once(self) -> MergeLimits:
        """All that can be merged is."""
        return replace(self, full_threshold_bytes=1, min_count=1)


def limits_of(options: TableOptions) -> MergeLimits:
    """The table's own."""
    return MergeLimits(
        options.manifest_target_bytes,
        options.manifest_full_threshold_bytes,
        options.manifest_merge_min_count,
    )


def full_candidates(metas: Sequence[ManifestMeta], limits: MergeLimits) -> tuple[ManifestMeta, ...]:
    """Manifests that a full merge rewrites, or () when there is too little to rewrite."""
    changing = tuple(m for m in metas if m.deleted_files > 0 or m.size_bytes < limits.target_bytes)
    if sum(m.size_bytes for m in changing) < limits.full_threshold_bytes:
        return ()
    return changing


def minor_groups(
    metas: Sequence[ManifestMeta], limits: MergeLimits
) -> tuple[tuple[ManifestMeta, ...], ...]:
    """The list cut into neighbours; a group of more than one becomes one manifest."""
    groups: list[tuple[ManifestMeta, ...]] = []
    current: list[ManifestMeta] = []
    for meta in metas:
        current.append(meta)
        if sum(m.size_bytes for m in current) >= limits.target_bytes:
            groups.append(tuple(current))
            current = []
    if current and len(current) >= limits.min_count:
        groups.append(tuple(current))
    else:
        groups += [(m,) for m in current]
    return tuple(groups)
