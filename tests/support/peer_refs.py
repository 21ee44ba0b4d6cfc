"""What Java peers do with references of a table: tags, branches, consumers, expiry, index files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, cast

from .canonical import Json
from .peers import Peer, ReadResult


class Refs(TypedDict):
    """Tags by name to their snapshot's id; consumers by name to the next snapshot they read."""

    tags: dict[str, int]
    branches: list[str]
    consumers: dict[str, int]
    earliest: int | None
    latest: int | None


class Expired(TypedDict):
    """How many went."""

    snapshots: int
    changelogs: int


class IndexInfo(TypedDict):
    """One index file; ``deletions`` holds data file, offset, length and cardinality of each."""

    partition: str
    bucket: int
    type: str
    name: str
    size: int
    rowCount: int
    deletions: list[list[Json]] | None
    externalPath: str | None
    globalIndex: dict[str, object] | None


def create_tag(
    peer: Peer, path: Path | str, tag: str, snapshot: int | None = None, branch: str | None = None
) -> None:
    """Tags a snapshot, the latest by default."""
    peer.call("create_tag", path=str(path), tag=tag, snapshot=snapshot, branch=branch)


def delete_tag(peer: Peer, path: Path | str, tag: str, branch: str | None = None) -> None:
    """Deletes a tag, and the files that only it held by the library's reckoning."""
    peer.call("delete_tag", path=str(path), tag=tag, branch=branch)


def create_branch(peer: Peer, path: Path | str, branch: str, tag: str | None = None) -> None:
    """Makes a branch from a tag, or an empty one."""
    peer.call("create_branch", path=str(path), branch=branch, tag=tag)


def delete_branch(peer: Peer, path: Path | str, branch: str) -> None:
    peer.call("delete_branch", path=str(path), branch=branch)


def set_consumer(peer: Peer, path: Path | str, consumer: str, next_snapshot: int) -> None:
    peer.call("set_consumer", path=str(path), consumer=consumer, next=next_snapshot)


def refs(peer: Peer, path: Path | str, branch: str | None = None) -> Refs:
    """What the library finds."""
    return cast(Refs, peer.call("refs", path=str(path), branch=branch))


def expire(
    peer: Peer,
    path: Path | str,
    options: Mapping[str, str] | None = None,
    branch: str | None = None,
) -> Expired:
    """Expires snapshots, and changelogs where they live longer, as a writer does."""
    found = peer.call("expire", path=str(path), options=dict(options or {}), branch=branch)
    return cast(Expired, found)


def remove_orphans(peer: Peer, path: Path | str, before: int) -> set[str]:
    """Deletes files last written before that time (epoch milliseconds) which nobody can reach by
    the library's reckoning; their paths. Only newer versions can."""
    found = cast("list[str]", peer.call("remove_orphans", path=str(path), before=before))
    return {uri.removeprefix("file:") for uri in found}


def rollback_as_latest(peer: Peer, path: Path | str, tag: str) -> int:
    """Publishes a tag's state as the newest snapshot; that one's id. Only newer versions can."""
    return int(peer.call("rollback_as_latest", path=str(path), tag=tag))


def index_entries(peer: Peer, path: Path | str, snapshot: int | None = None) -> list[IndexInfo]:
    """Index files of the latest or the given snapshot."""
    return cast("list[IndexInfo]", peer.call("index_entries", path=str(path), snapshot=snapshot))


def read_branch(peer: Peer, path: Path | str, branch: str) -> ReadResult:
    """The rows of a branch's latest snapshot."""
    return cast(ReadResult, peer.call("read", path=str(path), branch=branch))


def read_tag(peer: Peer, path: Path | str, tag: str) -> ReadResult:
    """The rows of a tag."""
    return peer.read(path, options={"scan.tag-name": tag})
