"""Between looking at a bucket and planning it: what is decided about its files, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from .compaction_rules import Wrapper
from .lsm.pick import Growth, PickOptions
from .manifest.entry import DataFile
from .schema import TableSchema

Mode = Literal["minor", "full"]
SectionNames = tuple[tuple[str, ...], ...]
"""Runs of one section as file names; a run's files in key order."""


@dataclass(frozen=True, slots=True)
class RewritePlan:
    """Files read together; sections in key order (one, of one run, if appended).

    ``writes``: into new files; else they are upgraded and only read, for what ``wrapper`` makes of
    their keys. ``changelog``: and that is written to changelog files.
    """

    sections: tuple[SectionNames, ...]
    drop_deletes: bool = False
    wrapper: Wrapper = Wrapper.PLAIN
    writes: bool = True
    changelog: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for section in self.sections for run in section for name in run)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with a bucket's files, before anything is read about them.

    ``upgrades``: all files that change their level by metadata, those that are read for it too.
    ``lookups``: files above the output level in which keys are looked up.
    """

    upgrades: tuple[str, ...]
    rewrites: tuple[RewritePlan, ...]
    output_level: int
    max_level: int
    reason: str
    lookups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """``growth``: which release's growing rule.

    The numbers replace the table's own for picking only (its levels stay): what a policy decided.
    """

    mode: Mode = "minor"
    growth: Growth = Growth.HEAD
    trigger: int | None = None
    size_amplification_percent: int | None = None
    size_ratio_percent: int | None = None

    def limit(self, own: PickOptions) -> PickOptions:
        """The table's own numbers, replaced where one is given."""
        return replace(
            own,
            trigger=own.trigger if self.trigger is None else self.trigger,
            size_amplification_percent=own.size_amplification_percent
            if self.size_amplification_percent is None
            else self.size_amplification_percent,
            size_ratio_percent=own.size_ratio_percent
            if self.size_ratio_percent is None
            else self.size_ratio_percent,
        )


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket's live files, with what deciding about them needs to know.

    ``deleted``: rows that deletion vectors take from each file that has one. ``expired``: files
    that hold records whose time is over.
    """

    schema: TableSchema
    files: tuple[DataFile, ...]
    deleted: Mapping[str, int]
    expired: frozenset[str]
