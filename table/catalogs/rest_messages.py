"""What a REST catalog says, as types; other fields are ignored, missing ones are an error.

Spec: format §16; reference packages ``rest/requests``, ``rest/responses``.
"""

from __future__ import annotations

from typing import Any

import msgspec


class ConfigAnswer(msgspec.Struct, frozen=True):
    """Options: ours replace ``defaults``, ``overrides`` replace ours."""

    defaults: dict[str, str | None] | None = None
    overrides: dict[str, str | None] | None = None

    def merged(self, ours: dict[str, str]) -> dict[str, str]:
        """The options that hold."""
        whole = {**(self.defaults or {}), **ours, **(self.overrides or {})}
        return {key: value for key, value in whole.items() if value is not None}


class DatabasesAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A page of names."""

    databases: list[str] | None = None
    next_page_token: str | None = None

    @property
    def names(self) -> list[str]:
        return self.databases or []


class TablesAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A page of names, without their database."""

    tables: list[str] | None = None
    next_page_token: str | None = None

    @property
    def names(self) -> list[str]:
        return self.tables or []


class SchemaAnswer(msgspec.Struct, frozen=True):
    """As far as it is looked at: the schema itself is read from its file."""

    options: dict[str, str] | None = None


class TableAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """A table: ``id`` is another one when a table of the same name is made anew."""

    id: str
    path: str
    schema_id: int
    name: str | None = None
    is_external: bool = False
    schema: SchemaAnswer | None = None


class TokenAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Options that open the table's files until a time."""

    token: dict[str, str]
    expires_at_millis: int


class TableSnapshotAnswer(msgspec.Struct, frozen=True):
    """A snapshot with its statistics."""

    snapshot: dict[str, Any]


class SnapshotAnswer(msgspec.Struct, frozen=True):
    """The latest snapshot, as the server knows it."""

    snapshot: TableSnapshotAnswer | None = None


class CommitAnswer(msgspec.Struct, frozen=True):
    """Whether the snapshot was published; False: the base is no longer the latest."""

    success: bool


class ErrorAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """What went wrong; ``code`` may differ from the status of the response."""

    message: str | None = None
    code: int | None = None
    resource_type: str | None = None
    resource_name: str | None = None
