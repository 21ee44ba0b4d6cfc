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
    peer: Peer,
    path: Path | str,
    tag: str,
    snapshot: int | None = None,
    branch: str | None = None,
    retained_millis: int | None = None,
) -> None:
    """Tags a snapshot, the latest by default, maybe with a time it is retained for."""
    peer.call(
        "create_tag",
        path=str(path),
        tag=tag,
        snapshot=snapshot,
        branch=branch,
        retained_millis=retained_millis,
    )


def create_tag_for(
    peer: Peer, path: Path | str, tag: str, snapshot: int, retained_seconds: float
) -> None:
    """Tags a snapshot with a retention."""
    peer.call(
        "create_tag", path=str(path), tag=tag, snapshot=snapshot, retained=retained_seconds
    )  # fmt: skip


def rename_tag(peer: Peer, path: Path | str, tag: str, to: str) -> None:
    """Only newer versions can."""
    peer.call("rename_tag", path=str(path), tag=tag, to=to)


def replace_tag(
    peer: Peer,
    path: Path | str,
    tag: str,
    snapshot: int | None = None,
    retained_seconds: float | None = None,
) -> None:
    """Only newer versions can."""
    peer.call(
        "replace_tag", path=str(path), tag=tag, snapshot=snapshot, retained=retained_seconds
    )  # fmt: skip


def auto_tags(peer: Peer, path: Path | str, options: Mapping[str, str] | None = None) -> Refs:
    """Makes the tags that the options ask for, as a writer does after its commit."""
    found = peer.call("auto_tags", path=str(path), options=dict(options or {}))
    return cast(Refs, found)


def expire_tags(peer: Peer, path: Path | str, older_than: int | None = None) -> Refs:
    """Deletes tags that are over; ``older_than``: epoch milliseconds. Only newer versions can."""
    return cast(Refs, peer.call("expire_tags", path=str(path), older_than=older_than))


def rollback(
    peer: Peer, path: Path | str, *, snapshot: int | None = None, tag: str | None = None
) -> None:
    """Back to a snapshot or a tag."""
    peer.call("rollback", path=str(path), snapshot=snapshot, tag=tag)


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


def rollback_as_latest(peer: Peer, path: Path | str, tag: str) -> int:
    """Publishes a tag's state as the newest snapshot; that one's id. Only newer versions can."""
    return int(peer.call("rollback_as_latest", path=str(path), tag=tag))


def rollback_to(
    peer: Peer, path: Path | str, *, snapshot: int | None = None, tag: str | None = None
) -> int:
    """Makes a snapshot or a tag the latest and deletes what is newer; the latest id then."""
    return int(peer.call("rollback_to", path=str(path), snapshot=snapshot, tag=tag))


def remove_orphans(
    peer: Peer,
    path: Path | str,
    older_than_millis: int,
    *,
    dry_run: bool = False,
    options: Mapping[str, str] | None = None,
) -> list[str]:
    """Removes files that nothing refers to, if last changed before that time; their paths.

    Only newer versions can.
    """
    found = peer.call(
        "remove_orphans",
        path=str(path),
        older_than_millis=older_than_millis,
        dry_run=dry_run,
        options=dict(options or {}),
    )
    return cast("list[str]", found)


def expire_partitions(
    peer: Peer, path: Path | str, options: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """Drops the partitions that are too old by the table's options or the given ones."""
    found = peer.call("expire_partitions", path=str(path), options=dict(options or {}))
    return cast("list[dict[str, str]]", found)


def list_partitions(
    peer: Peer, path: Path | str, branch: str | None = None
) -> list[dict[str, str]]:
    """The partitions with live files."""
    found = peer.call("list_partitions", path=str(path), branch=branch)
    return cast("list[dict[str, str]]", found)


def index_entries(peer: Peer, path: Path | str, snapshot: int | None = None) -> list[IndexInfo]:
    """Index files of the latest or the given snapshot."""
    return cast("list[IndexInfo]", peer.call("index_entries", path=str(path), snapshot=snapshot))


def read_branch(peer: Peer, path: Path | str, branch: str) -> ReadResult:
    """The rows of a branch's latest snapshot."""
    return cast(ReadResult, peer.call("read", path=str(path), branch=branch))


def read_tag(peer: Peer, path: Path | str, tag: str) -> ReadResult:
    """The rows of a tag."""
    return peer.read(path, options={"scan.tag-name": tag})
