"""What Java peers do with whole partitions and with manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from .peers import Peer

__all__ = ["compact_manifests", "drop_partitions", "expire_partitions", "partition_times"]


def expire_partitions(
    peer: Peer, path: Path | str, now: str, options: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """Expires partitions at this wall clock; those that went, in the library's order."""
    result = peer.call("expire_partitions_at", path=str(path), now=now, options=dict(options or {}))
    return cast("list[dict[str, str]]", result)


def drop_partitions(peer: Peer, path: Path | str, specs: Sequence[Mapping[str, str]]) -> int:
    """Drops partitions by their specs; the latest snapshot then."""
    result = peer.call("drop_partitions", path=str(path), partitions=[dict(s) for s in specs])
    return cast(int, result)


def compact_manifests(peer: Peer, path: Path | str) -> int:
    """Merges manifests; the latest snapshot then."""
    return cast(int, peer.call("compact_manifests", path=str(path)))


def partition_times(
    peer: Peer,
    keys: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    pattern: str | None = None,
    formatter: str | None = None,
) -> list[int | None]:
    """Nanoseconds on the wall clock of each row of values; None for no time."""
    result = peer.call(
        "partition_times",
        keys=list(keys),
        rows=[list(row) for row in rows],
        pattern=pattern,
        formatter=formatter,
    )
    moments = cast("list[list[int] | None]", result)
    return [None if m is None else m[0] * 1_000_000_000 + m[1] for m in moments]
