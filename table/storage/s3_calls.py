"""One request to an S3 store: tried again while that may help, counted, its errors by name.

Spec: the S3 API's error codes; what is worth another try is what AWS's own clients try again.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ..errors import FileMissing, StorageUnavailable, TableError, first_line
from .credentials import TokenSource, with_token
from .object_path import ObjectPath
from .options import StoreOptions
from .requests import REQUESTS
from .s3_session import CredentialsFailed, session_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

FAILURES = (ClientError, BotoCoreError, HTTPError, ResponseParserError)
"""All that a request may raise; the last is an answer that makes no sense."""

UNREACHED = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError)
NOT_SENT = (
    *UNREACHED,
    CredentialsFailed,
    NoCredentialsError,
    PartialCredentialsError,
    ParamValidationError,
)
"""Nobody has heard of the request."""

MISSING = frozenset({"NoSuchKey", "404", "NotFound"})
EXISTS = frozenset({"PreconditionFailed", "412"})
TURNED_AWAY = frozenset({"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded"})
"""Said before anything was done; a 503 of a proxy may come after."""

THROTTLED = TURNED_AWAY | {"503", "429", "TooManyRequests", "ServiceUnavailable"}
AGAIN = THROTTLED | {
    "InternalError",
    "500",
    "502",
    "504",
    "RequestTimeout",
    "RequestTimeoutException",
    "IncompleteBody",
    "BadDigest",
    "ConditionalRequestConflict",
    "409",
    "OperationAborted",
}
REASONS = {
    "NoSuchBucket": "the bucket does not exist",
    "InvalidAccessKeyId": "the access key is unknown to the store",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "AccessDenied": "access is denied",
    "403": "access is denied",
    "ExpiredToken": "the credentials have expired",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "the clocks of this machine and of the store differ too much",
    "QuotaExceeded": "the store's quota is used up",
}

SKEW_SECONDS_MAX = 15 * 60
"""By the API."""


class LocalFailure(Exception):
    """Something on this side failed inside a request; ``cause`` is to be raised as it is."""

    def __init__(self, cause: TableError) -> None:
        super().__init__(cause)
        self.cause = cause


class S3Calls:
    """Requests of one client. Safe to use from any thread."""

    def __init__(
        self,
        options: StoreOptions,
        tokens: TokenSource | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client: S3Client = make_client(options, tokens)
        self._attempts = options.attempts
        self._pause = options.pause_seconds
        self._sleep = sleep

    def call(self, operation: str, place: ObjectPath, action: Callable[[], T]) -> T:
        """What ``action`` returns, which must be right to do twice.

        Raises:
            FileMissing: there is no such object.
            StorageUnavailable: refused, or failed however often it was tried.
        """
        for attempt in range(self._attempts):
            try:
                return self.once(operation, place, action)
            except FAILURES as error:
                if attempt + 1 == self._attempts or not worth_another_try(error):
                    raise translated(error, operation, place) from error
            self.pause(attempt)
        raise AssertionError("unreachable: attempts are at least one")

    def once(self, operation: str, place: ObjectPath, action: Callable[[], T]) -> T:
        """One attempt, counted; errors as botocore has them."""
        try:
            done = action()
        except LocalFailure as failure:
            raise failure.cause from failure
        except ClientError as error:
            REQUESTS.count(place.bucket, operation, _outcome(code_of(error)))
            raise
        except FAILURES:
            REQUESTS.count(place.bucket, operation, "failed")
            raise
        REQUESTS.count(place.bucket, operation, "ok")
        return done

    def pause(self, attempt: int) -> None:
        """Longer each time, and a random part of it: a crowd that was refused spreads out."""
        most = self._pause * min(2**attempt, 100)
        self._sleep(most * (0.5 + random.random() / 2))


def make_client(options: StoreOptions, tokens: TokenSource | None = None) -> S3Client:
    """A client that tries nothing twice by itself.

    Args:
        tokens: credentials that expire, in place of those of the options.

    Raises:
        StorageUnavailable: the profile or its credentials cannot be had.
    """
    if tokens is not None:
        options = with_token(options, tokens())
    endpoint = options.endpoint or _environment_endpoint()
    path_style = endpoint is not None if options.path_style is None else options.path_style
    config = Config(
        signature_version="s3v4",
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=options.connect_seconds,
        read_timeout=options.read_seconds,
        max_pool_connections=options.in_flight + 8,
        s3={"addressing_style": "path" if path_style else "auto"},
        # Not every store knows the newer checksums; bodies carry an MD5 instead.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        session = boto3.Session(botocore_session=session_of(options, tokens))
        client = session.client("s3", endpoint_url=endpoint, config=config)
    except (*FAILURES, OSError, ValueError) as error:
        raise StorageUnavailable("no client for the store", reason=first_line(error)) from error
    client.meta.events.register("before-call.s3.DeleteObjects", _add_md5)
    return client


def _add_md5(params: dict[str, Any], **_: object) -> None:
    """Many stores refuse to delete many objects without; botocore sends a newer checksum only."""
    params["headers"]["Content-MD5"] = md5(params["body"])


def _environment_endpoint() -> str | None:
    found = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return found or None


def code_of(error: Exception) -> str:
    """The store's error code; for an answer without a body its HTTP status."""
    return (
        str(error.response.get("Error", {}).get("Code", ""))
        if isinstance(error, ClientError)
        else ""
    )


def worth_another_try(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, CredentialsFailed):
        return worth_another_try(error.cause)
    if isinstance(error, ClientError):
        return code_of(error) in AGAIN or _has_failed(error) or _status_of(error) == 429
    return isinstance(
        error,
        (
            HTTPClientError,
            HTTPError,
            IncompleteReadError,
            ResponseParserError,
            SSLError,
            *UNREACHED,
        ),
    )


def in_doubt(error: Exception) -> bool:
    """Whether the request may have been carried out all the same."""
    if isinstance(error, ClientError):
        return _has_failed(error) and code_of(error) not in TURNED_AWAY
    return not isinstance(error, NOT_SENT)


def _status_of(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _has_failed(error: ClientError) -> bool:
    """Whether the store has; a 501 says that it does not know such a request, and never will."""
    return _status_of(error) >= 500 and _status_of(error) != 501


def translated(
    error: Exception, operation: str, place: ObjectPath
) -> StorageUnavailable | FileMissing:
    """The error by its name here."""
    if isinstance(error, CredentialsFailed):
        return StorageUnavailable(
            "no credentials for the store", reason=str(error), action=operation, file=place.path
        )
    code = code_of(error)
    if code in MISSING:
        return FileMissing("file does not exist", action=operation, file=place.path)
    if code == "403" and _clock_is_off(error):
        code = "RequestTimeTooSkewed"
    reason = REASONS.get(code) or first_line(error)
    return StorageUnavailable(f"cannot {operation}", reason=reason, file=place.path)


def _clock_is_off(error: Exception) -> bool:
    """By the time of an answer that, being one to HEAD, has no body to say so."""
    assert isinstance(error, ClientError)
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        then = parsedate_to_datetime(headers.get("date", "")).replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs((datetime.now(UTC) - then).total_seconds()) > SKEW_SECONDS_MAX


def _outcome(code: str) -> str:
    if code in THROTTLED:
        return "throttled"
    return "failed" if code in AGAIN else "refused"


def md5(data: bytes) -> str:
    """As the header has it; the store refuses a body that was garbled or cut on its way."""
    return b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
