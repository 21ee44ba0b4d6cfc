"""What holds files: kept snapshots, tags, branches. Nothing that one of them reaches is deleted.

Java consults tags alone, and of those only the neighbours, since a file once removed does not come
back. It does: a rollback may publish an old state as the newest one, and on a plain disk a
snapshot may be replaced after somebody built on it. Branches share files with the main history, and
outlive the tag they were made from. So everything is asked here (`reach`):

- a *chain* (the kept snapshots; those of a branch) holds the files of its first and its last
  snapshot, and every file that a delta in between speaks of;
- a *tag* holds the files of its snapshot;
- a long-lived *changelog* holds its changelog files, or the files that its own delta added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .. import paths
from ..branches import Branch, list_branches
from ..changelogs import ChangelogStore
from ..handle import TableHandle
from ..snapshot import Snapshot
from ..tags import read_tags


@dataclass(frozen=True, slots=True)
class Holder:
    """One snapshot that somebody can read. ``path``: of the file that says so.

    ``changelog``: readers of changes come here, too, not only readers of rows; ``partial``: only
    they do, and other files of the snapshot may be gone.
    """

    label: str
    path: str
    snapshot: Snapshot
    changelog: bool = False
    partial: bool = False

    @property
    def key(self) -> str:
        """Says which file with which content this is."""
        return f"{self.path} {digest(self.snapshot)}"


Chain = tuple[Holder, ...]
"""Snapshots of one history, rising."""


@dataclass(frozen=True, slots=True)
class Holders:
    """Everything that holds files of one table.

    ``kept``: the main branch's snapshots from the end of the range on; ``tags``: of the main
    branch, by snapshot; ``branches``: the snapshots of each; ``others``: tags of branches;
    ``changelogs``: long-lived ones, of branches, and of the main branch if they do not expire
    by rules of their own.
    """

    kept: Chain = ()
    tags: tuple[Holder, ...] = ()
    branches: tuple[Chain, ...] = ()
    others: tuple[Holder, ...] = ()
    changelogs: tuple[Holder, ...] = ()

    def all(self) -> Iterator[Holder]:
        """Every one of them."""
        yield from self.kept
        yield from self.besides_kept()

    def besides_kept(self) -> Iterator[Holder]:
        """Tags, everything of branches, changelogs."""
        yield from self.tags
        for chain in self.branches:
            yield from chain
        yield from self.others
        yield from self.changelogs


def digest(snapshot: Snapshot) -> str:
    """Of the file's exact content: a snapshot is known by its id and its content."""
    return hashlib.sha256(snapshot.content).hexdigest()[:32]


def kept_chain(root: str, snapshots: Iterable[Snapshot]) -> Chain:
    """Snapshots of the main branch as holders."""
    return tuple(
        Holder(f"snapshot {s.id}", paths.snapshot_file(root, s.id), s, changelog=True)
        for s in snapshots
    )


def read_holders(handle: TableHandle, kept: Chain, *, changelogs: bool) -> Holders:
    """What holds files now, the kept snapshots given.

    Args:
        changelogs: whether the main branch's long-lived changelogs hold files, too.

    Raises:
        CorruptTable, UnsupportedFeature: a tag or snapshot that cannot be read, by its file.
    """
    branches = list_branches(handle)
    chains = (_branch_chain(handle, branch) for branch in branches)
    roots = [(handle.root, "")] if changelogs else []
    roots += [(b.root, f"branch {b.name}, ") for b in branches]
    return Holders(
        kept=kept,
        tags=_tags(handle, handle.root, ""),
        branches=tuple(chain for chain in chains if chain),
        others=tuple(h for b in branches for h in _tags(handle, b.root, f"branch {b.name}, ")),
        changelogs=tuple(h for root, prefix in roots for h in _changelogs(handle, root, prefix)),
    )


def since(now: Holders, looked: frozenset[str]) -> Holders:
    """Those that were not asked before; ``looked``: keys of all that were.

    Of a history only what is new is asked, behind the snapshot that it goes on from. All new tags
    are among ``others``, so that each of them is asked.
    """
    return Holders(
        kept=_new_end(now.kept, looked),
        branches=tuple(end for chain in now.branches if (end := _new_end(chain, looked))),
        others=tuple(h for h in (*now.tags, *now.others) if h.key not in looked),
        changelogs=tuple(h for h in now.changelogs if h.key not in looked),
    )


def _new_end(chain: Chain, looked: frozenset[str]) -> Chain:
    """From the last holder known on; () when there is none after it."""
    new = [at for at, holder in enumerate(chain) if holder.key not in looked]
    return chain[max(0, new[0] - 1) :] if new else ()


def _tags(handle: TableHandle, root: str, prefix: str) -> tuple[Holder, ...]:
    return tuple(
        Holder(f"{prefix}tag {tag.name}", paths.tag_file(root, tag.name), tag.snapshot)
        for tag in read_tags(handle, root)
    )


def _branch_chain(handle: TableHandle, branch: Branch) -> Chain:
    store = branch.snapshots(handle)
    snapshots = (store.find(snapshot_id) for snapshot_id in store.ids())
    return tuple(
        Holder(
            f"branch {branch.name}, snapshot {s.id}",
            paths.snapshot_file(branch.root, s.id),
            s,
            changelog=True,
        )
        for s in snapshots
        if s is not None
    )


def _changelogs(handle: TableHandle, root: str, prefix: str) -> Iterator[Holder]:
    store = ChangelogStore(handle, root)
    for snapshot_id in store.ids():
        if (copy := store.find(snapshot_id)) is not None:
            path = paths.changelog_file(root, snapshot_id)
            label = f"{prefix}changelog {snapshot_id}"
            yield Holder(label, path, copy, changelog=True, partial=True)
