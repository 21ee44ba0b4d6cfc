"""Whose turn it is, of work that is done now and then: after a success, and after a failure."""

from __future__ import annotations

from dataclasses import dataclass

from .ledger import SKIP_SECONDS, backoff_seconds
from .outcome import Next

# An error that somebody must look at is looked up again as seldom as one of the store.
HALTED_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Turn:
    """When it may be done next, on the monotonic clock; failures in a row, and the last one."""

    due: float
    attempts: int = 0
    reason: str = ""


def pause_seconds(step: Next, attempts: int) -> float:
    """How long it is left alone after the ``attempts``-th failure in a row."""
    match step:
        case Next.RESCAN | Next.RETRY:
            return backoff_seconds(attempts)
        case Next.SKIP_TABLE | Next.FORGET_TABLE:
            return SKIP_SECONDS
        case _:
            return HALTED_SECONDS
