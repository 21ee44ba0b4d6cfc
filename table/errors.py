"""Every error that `table/` raises, named after what the caller should do.

    DesiltError
    └── TableError             carries table= and context
        ├── CommitConflict     the plan is stale: drop it and scan again
        ├── StorageUnavailable nothing wrong with the table: later, with back-off
        ├── UnsupportedFeature leave this table alone until its schema changes
        ├── InvalidRequest     the caller's arguments do not fit the table: correct the call
        ├── BadData            rows that the engine must refuse: quarantine the bucket
        ├── VerificationFailed a rewrite that does not match its inputs: quarantine, keep evidence
        ├── TableMissing       no table (any more) at this path: forget it
        ├── OutcomeUnknown     a publish whose answer was lost: look it up, delete nothing
        └── CorruptTable       stop touching this table and wake somebody
            └── FileMissing    metadata names a file that is gone

Messages are lower case, without a full stop: what happened, then values as ``key=value``.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager


class DesiltError(Exception):
    """Base of all errors of desilt."""


class TableError(DesiltError):
    """Something about one table; ``context`` holds what identifies the place.

    Args:
        message: what happened, lower case, no full stop.
        context: values that say where (table, file, field, key …); appended as ``key=value``.
    """

    def __init__(self, message: str, **context: object) -> None:
        self.message = message
        self.context = {key: value for key, value in context.items() if value is not None}
        super().__init__(message, context)

    def __str__(self) -> str:
        return ", ".join([self.message, *(f"{key}={value}" for key, value in self.context.items())])

    def at(self, **context: object) -> TableError:
        """The same error with more context (what is already known is not overwritten)."""
        for key, value in context.items():
            if value is not None:
                self.context.setdefault(key, value)
        return self


@contextmanager
def naming(table: str) -> Generator[None]:
    """Lets every table error through, with the name of the table in its context."""
    try:
        yield
    except TableError as error:
        error.at(table=table)
        raise


class CommitConflict(TableError):
    """A premise of the plan no longer holds; drop the plan and scan again."""


class StorageUnavailable(TableError):
    """The store failed; nothing is wrong with the table."""


class UnsupportedFeature(TableError):
    """The table uses something desilt does not understand or refuses on purpose."""


class InvalidRequest(TableError):
    """The caller asked for something that does not fit the table."""


class BadData(TableError):
    """Rows that must be refused."""


class VerificationFailed(TableError):
    """The files of a rewrite do not hold what their inputs say."""


class TableMissing(TableError):
    """There is no table at this path."""


class OutcomeUnknown(TableError):
    """It is not known whether a snapshot was published; nothing may be deleted."""


class CorruptTable(TableError):
    """Metadata or data contradicts itself."""


class FileMissing(CorruptTable):
    """A file that metadata names does not exist."""


def first_line(error: BaseException | str) -> str:
    """What a library said, without its pages of explanation; its name where it said nothing."""
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
