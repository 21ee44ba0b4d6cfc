"""What an expiry would do, as plain data that can be printed: which snapshots go, which files with
them, what kept the range from being longer, and what holds files that would have gone.

Steps:

1. *look*: ids of snapshots, and those that decide (`read_view`);
2. *range*: which go (`range.py`, pure);
3. *candidates*: files that the range might leave behind (`files.py`);
4. *reach*: which of them somebody still holds (`holders.py`, `reach.py`);
5. what is left is the plan. `apply.py` looks again before it deletes.

Spec: maintenance §10.1–10.3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from ..consumers import Consumer
from .files import FILES_SCHEMA, ROWS, FileKind
from .range import Bound


@dataclass(frozen=True, slots=True)
class Going:
    """A snapshot or long-lived changelog that goes. ``digest``: of its file's content, since a
    table made anew in the same place counts its snapshots from 1 again."""

    id: int
    time_millis: int
    digest: str


@dataclass(frozen=True, slots=True)
class Part:
    """One range at the old end, of snapshots or of long-lived changelogs.

    ``until``: the first that stays, known by ``until_digest``; equal to ``earliest`` when nothing
    goes. ``files``: FILES_SCHEMA, in the order of their deletion.
    """

    earliest: int
    until: int
    until_digest: str
    going: tuple[Going, ...]
    bounds: tuple[Bound, ...]
    files: pl.DataFrame = field(compare=False, repr=False)

    @property
    def empty(self) -> bool:
        return not self.going

    @property
    def more(self) -> bool:
        """Whether another run would go on from here."""
        return not self.empty and any(bound.again for bound in self.bounds)

    def counts(self) -> dict[str, int]:
        """Files by kind; every kind is there."""
        found = dict(self.files.group_by("kind").len().iter_rows())
        return {kind.value: int(found.get(kind.value, 0)) for kind in FileKind}

    @property
    def size_bytes(self) -> int:
        """Of the files whose size is known."""
        return int(self.files["size_bytes"].sum())


@dataclass(frozen=True, slots=True)
class Protection:
    """Files of removed snapshots that stay, because ``holder`` needs them; of a known size."""

    holder: str
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ExpiryPlan:
    """What an expiry of one table would do, and what it rests on.

    ``latest``: the newest snapshot looked at; ``looked``: keys of every holder asked; both say
    what is new when the plan is checked again. ``preserved``: the snapshots become long-lived
    changelogs. ``changelogs``: None unless changelogs live longer than snapshots.
    ``writes_hint``: the EARLIEST hint is missing or wrong. ``consumers``: those that are forgotten;
    ``consumer_floor``: nothing below it is there for any other any more.
    """

    table: str
    path: str
    schema_id: int
    made_millis: int
    latest: int
    snapshots: Part
    changelogs: Part | None
    preserved: bool
    clean_directories: bool
    writes_hint: bool
    consumers: tuple[Consumer, ...]
    consumer_floor: int
    protections: tuple[Protection, ...]
    looked: frozenset[str] = field(repr=False)

    @property
    def empty(self) -> bool:
        """Nothing to delete and nothing to write."""
        return self.snapshots.empty and not self.more_changelogs and not self.consumers

    @property
    def more_changelogs(self) -> bool:
        """Whether long-lived changelogs go."""
        return self.changelogs is not None and not self.changelogs.empty

    @property
    def files(self) -> pl.DataFrame:
        """All files that go, FILES_SCHEMA."""
        parts = [part.files for part in (self.snapshots, self.changelogs) if part is not None]
        return pl.concat([pl.DataFrame(schema=FILES_SCHEMA), *parts])

    def names(self) -> pl.DataFrame:
        """``name`` of every file that goes, and whether it is one with ``rows``."""
        rows = pl.col("kind").is_in([kind.value for kind in ROWS])
        return self.files.select(name=pl.col("path").str.extract(r"([^/]*)$"), rows=rows)

    @property
    def left(self) -> int:
        """Ids from the first snapshot that stays to the latest; gaps count, too."""
        return self.latest - self.snapshots.until + 1

    def as_dict(self, *, files: bool = False) -> dict[str, object]:
        """Plain data for JSON; ``files``: with every path."""
        return {
            "table": self.table,
            "latest": self.latest,
            "snapshots": _part_dict(self.snapshots, files=files),
            "changelogs": None
            if self.changelogs is None
            else _part_dict(self.changelogs, files=files),
            "preserved_as_changelogs": self.preserved,
            "consumers": [c.name for c in self.consumers],
            "protected": [
                {"by": p.holder, "files": p.files, "size_bytes": p.size_bytes}
                for p in self.protections
            ],
        }


def _part_dict(part: Part, *, files: bool) -> Mapping[str, object]:
    return {
        "earliest": part.earliest,
        "until": part.until,
        "expired": [{"id": g.id, "time_millis": g.time_millis} for g in part.going],
        "stays_because": [b.reason for b in part.bounds],
        "files": part.counts(),
        "size_bytes": part.size_bytes,
        **({"paths": part.files["path"].to_list()} if files else {}),
    }


def empty_part(earliest: int, digest: str, bounds: Sequence[Bound] = ()) -> Part:
    """Nothing goes."""
    return Part(earliest, earliest, digest, (), tuple(bounds), pl.DataFrame(schema=FILES_SCHEMA))
