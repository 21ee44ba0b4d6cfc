"""HTTP to a REST catalog: bounded in time and size, secrets in no message.

Questions are asked again after failures of the network and of busy servers. What changes something
is sent once: after a lost answer the caller has to look.

Spec: format §16; reference classes ``rest/HttpClient``, ``rest/DefaultErrorHandler``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec
import urllib3

from ..errors import (
    InvalidRequest,
    StorageUnavailable,
    TableError,
    TableMissing,
    UnsupportedFeature,
)
from ..handle import World
from .rest_messages import ErrorAnswer

TRIES = 4
CONNECT_SECONDS = 10.0
ANSWER_BYTES_MAX = 64 << 20
RETRY_AFTER_SECONDS_MAX = 30.0
_AGAIN = frozenset({429, 500, 502, 503, 504})
_GOOD = frozenset({200, 202, 204})
_NOT_SENT = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t -~\x80-\xff]*")

_T = TypeVar("_T")


def resource(*parts: str) -> str:
    """The path of a resource, its parts encoded; empty ones are left out."""
    return "/".join(("/v1", *(quote_plus(part) for part in parts if part)))


class RestClient:
    """Requests to one server.

    Args:
        uri: ``http://host:port`` or ``https://…``, maybe with a path.
        headers: sent with every request, the authorization among them.
        timeout: for one answer, seconds.
    """

    def __init__(
        self, uri: str, headers: Mapping[str, str], world: World, *, timeout: float = 30.0
    ) -> None:
        try:
            parsed = urlsplit(uri)
        except ValueError as error:
            raise InvalidRequest("the uri of a REST catalog cannot be read") from error
        if parsed.scheme not in ("http", "https") or not parsed.hostname:
            raise InvalidRequest("a REST catalog's uri is http:// or https://", uri=_shown(uri))
        if parsed.username or parsed.query or parsed.fragment:
            raise InvalidRequest("the uri of a REST catalog holds a place only", uri=_shown(uri))
        self.place = _shown(uri)
        self._uri = uri.rstrip("/")
        self._headers = _checked(headers)
        self._world = world
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=timeout), retries=False
        )

    def with_headers(self, headers: Mapping[str, str]) -> None:
        """Send these headers, too, from now on."""
        self._headers.update(_checked(headers))

    def get(self, path: str, kind: type[_T], query: Mapping[str, str] | None = None) -> _T:
        """The answer to a question.

        Raises:
            TableMissing: there is no such table (or database).
            StorageUnavailable: no answer, or the server refuses us.
            UnsupportedFeature, InvalidRequest: as the server says.
        """
        url = f"{path}?{urlencode(query)}" if query else path
        for tried in range(1, TRIES + 1):
            try:
                status, body, wait = self._exchange("GET", url, None)
            except StorageUnavailable:
                if tried == TRIES:
                    raise
                status, body, wait = 503, b"", None
            if status not in _AGAIN or tried == TRIES:
                return self._answer(status, body, kind, path)
            self._world.sleep(self._pause(tried) if wait is None else wait)
        raise AssertionError("unreachable")

    def post(self, path: str, body: object, kind: type[_T]) -> _T:
        """The answer to a change, which is sent once.

        Raises:
            StorageUnavailable: with ``in_doubt=True`` in its context where it may have been done
                all the same, or may still be: a server that is slow goes on without us.
            TableMissing, UnsupportedFeature, InvalidRequest: as `get`; nothing was done.
        """
        try:
            status, answer, _ = self._exchange("POST", path, msgspec.json.encode(body))
            return self._answer(status, answer, kind, path)
        except StorageUnavailable as error:
            raise error.at(in_doubt=_in_doubt(error) or None) from error.__cause__

    def close(self) -> None:
        """Give connections back."""
        self._pool.clear()

    def _pause(self, tried: int) -> float:
        return 0.2 * (1 << tried) * (1 + self._world.chance())

    def _exchange(
        self, method: str, path: str, body: bytes | None
    ) -> tuple[int, bytes, float | None]:
        """Status, content, and what the server says about when to come again."""
        headers = {**self._headers, "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = self._pool.request(
                method,
                self._uri + path,
                body=body,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
            content = response.read(ANSWER_BYTES_MAX + 1)
            if len(content) > ANSWER_BYTES_MAX:
                response.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            # The name alone: messages hold URLs, and those may hold what is secret.
            raise StorageUnavailable(
                "the catalog's server does not answer",
                server=self.place,
                reason=type(error).__name__,
            ) from error
        if len(content) > ANSWER_BYTES_MAX:
            raise StorageUnavailable("the server's answer is too large", server=self.place)
        return response.status, content, _retry_after(response.headers.get("Retry-After"))

    def _answer(self, status: int, body: bytes, kind: type[_T], path: str) -> _T:
        if status not in _GOOD:
            raise self._error(status, body, path)
        if kind is type(None):
            return kind()
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # Without the content: it may be a token.
            raise StorageUnavailable(
                "the server's answer cannot be read",
                server=self.place,
                resource=path,
                reason=str(error) if isinstance(error, msgspec.ValidationError) else "no JSON",
            ) from error

    def _error(self, status: int, body: bytes, path: str) -> TableError:
        try:
            said = msgspec.json.decode(body, type=ErrorAnswer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            said = ErrorAnswer()
        context: dict[str, object] = {
            "server": self.place,
            "resource": path,
            "status": status,
            "reason": None if said.message is None else said.message[:300],
        }
        match status:
            case 404:
                return TableMissing("the server knows no such thing", **context)
            case 400 | 409:
                return InvalidRequest("the server refuses the request", **context)
            case 501 | 405 | 406:
                return UnsupportedFeature("the server does not offer this", **context)
            case 401 | 403:
                return StorageUnavailable("the server does not let us", **context)
            case _:
                return StorageUnavailable("the server fails", **context)


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """A copy, if HTTP can say them; what is wrong is named without its value, which may be secret.

    Raises:
        InvalidRequest: a line break in a token, for one.
    """
    for name, value in headers.items():
        if _HEADER_NAME.fullmatch(name) is None or _HEADER_VALUE.fullmatch(value) is None:
            raise InvalidRequest("a header holds characters that none may", header=repr(name))
    return dict(headers)


def _in_doubt(error: StorageUnavailable) -> bool:
    """Whether a change may have been carried out all the same; a refusal says that it was not."""
    status = error.context.get("status")
    if isinstance(status, int):
        return status >= 500
    return not isinstance(error.__cause__, _NOT_SENT)


def _retry_after(text: str | None) -> float | None:
    """Seconds; dates are not looked at."""
    if text is None or not text.isdecimal():
        return None
    return min(float(text[:6]), RETRY_AFTER_SECONDS_MAX)


def _shown(uri: str) -> str:
    """The uri without what may be secret."""
    parsed = urlsplit(uri)
    host = parsed.netloc.rpartition("@")[2]
    return f"{parsed.scheme}://{host}{parsed.path}"
