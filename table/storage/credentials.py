"""Credentials that a catalog hands out for a while: asked for again before they expire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .options import StoreOptions

_PREFIXES = ("fs.s3a.", "fs.s3.", "s3a.", "s3.")
_NAMES = {
    "access-key": "access_key",
    "access.key": "access_key",
    "access-key-id": "access_key",
    "accesskeyid": "access_key",
    "secret-key": "secret_key",
    "secret.key": "secret_key",
    "secret-access-key": "secret_key",
    "accesskeysecret": "secret_key",
    "session-token": "session_token",
    "session.token": "session_token",
    "securitytoken": "session_token",
    "endpoint": "endpoint",
    "endpoint.region": "region",
    "region": "region",
}


@dataclass(frozen=True, slots=True)
class DataToken:
    """Options of a store that open a table's files, such as ``fs.s3a.access-key``."""

    options: Mapping[str, str] = field(repr=False)
    expires_at_millis: int


TokenSource = Callable[[], DataToken]
"""A token that is still good when it is returned."""


def with_token(options: StoreOptions, token: DataToken) -> StoreOptions:
    """The options with what the token says in their place; what it says of other stores is left."""
    known: dict[str, Any] = {}
    for key, value in token.options.items():
        prefix = next((p for p in _PREFIXES if key.startswith(p)), None)
        name = None if prefix is None else _NAMES.get(key.removeprefix(prefix).lower())
        if name is not None:
            known[name] = value
    return replace(options, **known)
