"""What only the Java peer can be asked: its merge functions, without any table around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .engine_model import Record, Rules
from .peers import Peer

__all__ = ["MergeCase", "Merged", "Wrapper", "merge_by"]

Wrapper = Literal[
    "function",
    "reducer",
    "lookup",
    "lookup-reducer",
    "lookup-changelog",
    "full-changelog",
    "first-row",
]
"""How the library calls a merge function; see the functions of `support.engine_model`."""


@dataclass(frozen=True, slots=True)
class MergeCase:
    """Records of one key, in feed order, and what a lookup of the key finds above them."""

    records: Sequence[Record]
    found: Record | None = None


@dataclass(frozen=True, slots=True)
class Merged:
    """What the library made of one case; all levels are 0, as nobody asks for them."""

    result: Record | None
    changelog: tuple[Record, ...]
    error: str | None


def merge_by(
    peer: Peer,
    rules: Rules,
    cases: Sequence[MergeCase],
    *,
    wrapper: Wrapper = "function",
    ordered: bool = False,
    top_level: int = 5,
    partition_keys: Sequence[str] = (),
) -> list[Merged]:
    """Feeds each case's records to the library's merge function, in one request.

    ``ordered`` sorts them as readers do before; ``top_level`` is for the wrapper full-changelog.
    """
    answers = peer.call(
        "merge",
        columns=[{"name": name, "type": text} for name, text in rules.columns.items()],
        primary_keys=list(rules.primary_keys),
        partition_keys=list(partition_keys),
        options=dict(rules.options),
        wrapper=wrapper,
        ordered=ordered,
        max_level=top_level,
        cases=[
            {
                "records": [_wire(record) for record in case.records],
                "high": None if case.found is None else _wire(case.found),
            }
            for case in cases
        ],
    )
    return [_merged(answer) for answer in answers]


def _wire(record: Record) -> list[Any]:
    return [record.kind, record.sequence, record.level, *record.values]


def _merged(answer: dict[str, Any]) -> Merged:
    if "error" in answer:
        return Merged(None, (), answer["error"])
    changelog = tuple(_record(change) for change in answer["changelog"])
    result = answer["result"]
    return Merged(None if result is None else _record(result), changelog, None)


def _record(wire: Sequence[Any]) -> Record:
    kind, sequence, *values = wire
    return Record(kind, sequence, tuple(values))
