"""What an orphan clean would delete, as plain data that can be printed.

Steps, in this order, which matters (a file that is made after the listing is no candidate, and one
that was used at the listing is found used):

1. *list* what is old enough where files of the table lie (`listing.py`);
2. *holders*: who can read a snapshot, of every branch (`holders.py`);
3. *used*: every name that any of them speaks of (`used.py`);
4. what is left is the plan. `apply.py` looks again before it deletes.

Spec: maintenance §11.1; reference class ``operation/OrphanFilesClean``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import polars as pl

from ..errors import InvalidRequest

HOUR_MILLIS = 3_600_000
DAY_MILLIS = 24 * HOUR_MILLIS
OLDER_THAN_MIN = HOUR_MILLIS
"""A file is written, and then committed; nothing may take longer than the limit."""


class Place(StrEnum):
    """Where a file lies."""

    DATA = "data"
    INDEX = "index"
    MANIFEST = "manifest"
    STATISTICS = "statistics"
    SNAPSHOT = "snapshot"
    CHANGELOG = "changelog"


ORPHANS_SCHEMA: dict[str, pl.DataType] = {
    "place": pl.String(),
    "path": pl.String(),
    "name": pl.String(),
    "size_bytes": pl.Int64(),
    "modified_millis": pl.Int64(),
}
"""``path``: below the table's root; absolute where it lies outside."""


@dataclass(frozen=True, slots=True)
class OrphanSettings:
    """What may go: files last written longer ago than ``older_than_millis``.

    ``external``: look below the table's external data paths, too. Nothing in such a path says whose
    it is, and two tables that share one look to each other's files as to orphans, so somebody must
    know that they do not. ``forced``: take an age below the least; for tables at rest.
    """

    older_than_millis: int = DAY_MILLIS
    external: bool = False
    forced: bool = False

    def __post_init__(self) -> None:
        least = 0 if self.forced else OLDER_THAN_MIN
        if self.older_than_millis < least:
            raise InvalidRequest(
                "older-than is too small: what a writer has not committed yet would go",
                value=f"{self.older_than_millis} ms", least=f"{least} ms",
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class OrphanPlan:
    """Files that nobody can reach, and what that rests on.

    ``cut_millis``: what was written from then on stays; ``files``: ORPHANS_SCHEMA; ``folders``:
    empty ones of partitions and buckets, old enough; ``candidates``: files that were old enough;
    ``young``: files that were not. ``looked``: marks of every holder asked, and ``manifests`` that
    were read; both say what is new when the plan is carried out.
    """

    table: str
    path: str
    schema_id: int
    made_millis: int
    cut_millis: int
    settings: OrphanSettings
    candidates: int
    young: int
    files: pl.DataFrame = field(compare=False, repr=False)
    folders: tuple[str, ...] = ()
    looked: frozenset[str] = field(default=frozenset(), repr=False)
    manifests: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def empty(self) -> bool:
        """Nothing to delete."""
        return not self.files.height and not self.folders

    @property
    def size_bytes(self) -> int:
        return int(self.files["size_bytes"].sum())

    def counts(self) -> dict[str, int]:
        """Files by place; every place is there."""
        return counts(self.files)

    def as_dict(self, *, files: bool = False) -> dict[str, object]:
        """Plain data for JSON; ``files``: with every path."""
        return {
            "table": self.table,
            "older_than_millis": self.settings.older_than_millis,
            "candidates": self.candidates,
            "young": self.young,
            "files": self.counts(),
            "size_bytes": self.size_bytes,
            "folders": len(self.folders),
            **({"paths": self.files["path"].to_list()} if files else {}),
        }


def counts(files: pl.DataFrame) -> dict[str, int]:
    """Files by place; every place is there."""
    found = dict(files.group_by("place").len().iter_rows())
    return {place.value: int(found.get(place.value, 0)) for place in Place}
