"""Upkeep of one table beside compaction and expiry: what there is, and how it is carried out.

A chore is plain data that the YAML says: which, when, and with which rules in place of the table's
own. `upkeep.py` decides whose turn it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from ..table.commit import Committer
from ..table.expire import InUse, NameReader
from ..table.orphans.clean import OrphanSettings, clean_orphans
from ..table.partition_expiry import expire_partitions
from ..table.partition_time import PartitionOverride
from ..table.tagging.auto import auto_tags
from ..table.tagging.expire import expire_tags
from .schedule import Cron, Every

UseReader = Callable[[], InUse]


@dataclass(frozen=True, slots=True)
class TagChore:
    """Automatic tags, and tags whose time has come; ``overrides``: by the options' names."""

    when: Every | Cron
    overrides: tuple[tuple[str, str], ...] = ()
    name: str = field(default="tags", init=False)


@dataclass(frozen=True, slots=True)
class PartitionChore:
    """Partitions whose time has come are dropped."""

    when: Every | Cron
    override: PartitionOverride
    name: str = field(default="partitions", init=False)


@dataclass(frozen=True, slots=True)
class OrphanChore:
    """Old files that nobody reaches are deleted."""

    when: Every | Cron
    settings: OrphanSettings
    name: str = field(default="orphans", init=False)


Chore: TypeAlias = TagChore | PartitionChore | OrphanChore
CHORES = ("tags", "partitions", "orphans")
"""Their names: what the label ``action`` says of them."""


@dataclass(frozen=True, slots=True)
class ChoreDone:
    """What it did: tags made and deleted, partitions dropped, files deleted; bytes as far as known.

    ``more``: the next run would go on.
    """

    made: int = 0
    dropped: int = 0
    files: int = 0
    size_bytes: int = 0
    more: bool = False


def carry_out(
    chore: Chore, committer: Committer, names: NameReader, in_use: UseReader
) -> ChoreDone:
    """Plan and apply it on the committer's table.

    Raises:
        TableError: as the action has it.
    """
    handle = committer.handle
    match chore:
        case TagChore():
            made = auto_tags(handle, dict(chore.overrides), in_use=in_use)
            over = expire_tags(handle, overrides=dict(chore.overrides), in_use=in_use, reader=names)
            gone = [one for one in (made.deleted, over) if one is not None]
            return ChoreDone(
                made=len(made.made),
                dropped=sum(len(one.names) for one in gone),
                files=sum(one.files_total for one in gone),
                size_bytes=sum(one.size_bytes for one in gone),
            )
        case PartitionChore():
            return _expired_partitions(chore, committer)
        case OrphanChore():
            result = clean_orphans(handle, chore.settings, in_use=in_use, names=names)
            return ChoreDone(files=result.files_total, size_bytes=result.size_bytes)


def _expired_partitions(chore: PartitionChore, committer: Committer) -> ChoreDone:
    """Nothing of tables that have none, or that say nothing of when they are over."""
    handle = committer.handle
    schema = handle.latest_schema()
    says = "partition.expiration-time" in schema.raw_options
    if not schema.partition_keys or not (says or chore.override.expire_millis is not None):
        return ChoreDone()
    result = expire_partitions(handle, chore.override, committer)
    return ChoreDone(dropped=len(result.dropped.partitions), more=result.more)
