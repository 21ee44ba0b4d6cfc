"""Where the credentials of an S3 client come from, and what it is called when there are none.

They are fetched while a request is signed, in the middle of botocore: from a file, a profile, the
server of a web identity, a catalog. What fails there says nothing about the object that was asked
for, whatever its error code; it gets a type of its own here.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from botocore.utils import parse_timestamp

from ..errors import StorageUnavailable, TableError
from .credentials import TokenSource, with_token
from .options import StoreOptions

REASON_MAX = 300
DEFAULT_REGION = "us-east-1"
LAST_MILLIS = 253_402_214_400_000
"""The last day that a date can hold; credentials that never expire have a later one."""


class CredentialsFailed(BotoCoreError):
    """There are no credentials, or none that are still good; nothing was sent to the store."""

    fmt = "{reason}"

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        super().__init__(reason=_reason(cause))


def _reason(cause: Exception) -> str:
    """In one line; with its type where the text is only meant for who knows it."""
    text = " ".join(str(cause).split())
    named = isinstance(cause, (BotoCoreError, OSError)) or " " in text
    return (text if named else f"{type(cause).__name__}: {text}")[:REASON_MAX]


class _Named:
    """Credentials of botocore's, all of whose failures are `CredentialsFailed`."""

    def __init__(self, found: Any) -> None:
        self._found = found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found, name)

    def get_frozen_credentials(self) -> Any:
        """Called for each request; asks for new ones where the old ones are about to expire."""
        try:
            return self._found.get_frozen_credentials()
        except TableError:
            raise  # a catalog's, which has its name already
        except Exception as error:
            raise CredentialsFailed(error) from error


class _Forgetful(dict[str, Any]):
    """In place of botocore's memory of answers, which also keeps one that holds no credentials, for
    good; those that are good are kept by what renews them."""

    def __setitem__(self, key: str, value: Any) -> None:
        """Keeps nothing."""


def session_of(options: StoreOptions, tokens: TokenSource | None) -> Session:
    """A session with the credentials of a catalog, of the options, or of the environment.

    Raises:
        BotoCoreError, OSError, ValueError: the profile cannot be read, or names what is not there.
    """
    session = Session()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=moment)
    # Whoever hands out credentials is asked as patiently as the store, and again by our own loop.
    session.set_default_client_config(
        Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=options.connect_seconds,
            read_timeout=options.read_seconds,
        )
    )
    if options.profile is not None:
        session.set_config_variable("profile", options.profile)
    session.set_config_variable("region", region_of(options, session))
    found = _credentials(session, options, tokens)
    if found is not None:
        session._credentials = _Named(found)  # type: ignore[attr-defined]  # pyright: ignore
    return session


def moment(value: Any) -> datetime:
    """What botocore's own parser makes of a time, in a tenth of its 40 µs: every answer has one, a
    listing one for each object."""
    for parse in (datetime.fromisoformat, parsedate_to_datetime) if isinstance(value, str) else ():
        with suppress(ValueError):
            found = parse(value)
            if found.tzinfo is not None:
                return found
    return parse_timestamp(value)


def region_of(options: StoreOptions, session: Session) -> str:
    """Of the options, the environment, the profile; botocore does not know ``AWS_REGION``."""
    own = options.region or os.environ.get("AWS_REGION")
    return own or session.get_config_variable("region") or DEFAULT_REGION


def _credentials(session: Session, options: StoreOptions, tokens: TokenSource | None) -> Any:
    if tokens is not None:
        return _renewing(tokens)
    if options.access_key is not None or options.secret_key is not None:
        session.set_credentials(
            options.access_key or "", options.secret_key or "", options.session_token
        )
    providers = session.get_component("credential_provider")
    for name in ("assume-role", "assume-role-with-web-identity"):
        providers.get_provider(name).cache = _Forgetful()
    return session.get_credentials()


def _renewing(tokens: TokenSource) -> RefreshableCredentials:
    """Credentials that are asked for again shortly before they expire."""

    def credentials() -> dict[str, object]:
        token = tokens()
        options = with_token(StoreOptions(), token)
        if options.access_key is None or options.secret_key is None:
            raise StorageUnavailable("the catalog's credentials hold no keys of an S3 store")
        expires = datetime.fromtimestamp(min(token.expires_at_millis, LAST_MILLIS) / 1000, UTC)
        return {
            "access_key": options.access_key,
            "secret_key": options.secret_key,
            "token": options.session_token,
            "expiry_time": expires.isoformat(),
        }

    return RefreshableCredentials.create_from_metadata(
        metadata=credentials(), refresh_using=credentials, method="catalog"
    )
