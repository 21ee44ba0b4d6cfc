"""What a proxy does to requests of an object store, and to which."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = [
    "Answer",
    "CutAnswer",
    "CutUpload",
    "Delay",
    "Fault",
    "LostAnswer",
    "Match",
    "Refuse",
    "Request",
    "Rule",
    "SkewDate",
    "denied",
    "internal_error",
    "slow_down",
    "time_too_skewed",
]


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head; `kind` is the store's operation, such as LIST or PUT."""

    method: str
    target: str
    headers: dict[str, str]
    raw: bytes = b""

    @property
    def path(self) -> str:
        """The path, decoded: /bucket/key."""
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        """The parameters behind the path, decoded."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    @property
    def kind(self) -> str:
        """GET, HEAD, PUT, COPY, DELETE, LIST, DELETE_MANY, UPLOAD_…, or BUCKET for its matters."""
        query = self.query
        whole_bucket = self.path.strip("/").count("/") == 0
        if "uploadId" in query:
            names = {"PUT": "PART", "POST": "COMPLETE", "DELETE": "ABORT", "GET": "PARTS"}
            return f"UPLOAD_{names.get(self.method, self.method)}"
        if "uploads" in query:
            return "UPLOAD_LIST" if self.method == "GET" else "UPLOAD_CREATE"
        if "delete" in query and self.method == "POST":
            return "DELETE_MANY"
        if whole_bucket:
            listing = {"list-type", "prefix", "delimiter", "marker", "max-keys", "versions"}
            return "LIST" if self.method == "GET" and listing & query.keys() else "BUCKET"
        if self.method == "PUT" and "x-amz-copy-source" in self.headers:
            return "COPY"
        return self.method


# -------------------------------------------------------------------- faults


@dataclass(frozen=True, slots=True)
class Answer:
    """Answers with an error, or with the body, instead of asking the store."""

    status: int
    code: str
    message: str = "by the proxy"
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None


@dataclass(frozen=True, slots=True)
class LostAnswer:
    """The store does it; the connection is cut before its answer."""


@dataclass(frozen=True, slots=True)
class CutAnswer:
    """The connection is cut after so many bytes of the answer's body."""

    after: int


@dataclass(frozen=True, slots=True)
class CutUpload:
    """The store gets so many bytes of the request's body, then both connections are cut."""

    after: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """The connection is cut before the store hears of the request."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The request waits before it goes on to the store; further rules may apply to it."""

    seconds: float


@dataclass(frozen=True, slots=True)
class SkewDate:
    """The answer's Date is off by so many seconds; further rules may apply to it."""

    seconds: float


Fault = Answer | LostAnswer | CutAnswer | CutUpload | Refuse | Delay | SkewDate


def slow_down(retry_after: int | None = None) -> Answer:
    """The store's plea for fewer requests."""
    headers = () if retry_after is None else (("Retry-After", str(retry_after)),)
    return Answer(503, "SlowDown", headers=headers)


def denied() -> Answer:
    """The store's no to who asks."""
    return Answer(403, "AccessDenied")


def time_too_skewed() -> Answer:
    """The store's no to a clock that is off."""
    return Answer(403, "RequestTimeTooSkewed")


def internal_error() -> Answer:
    """The store's own failure."""
    return Answer(500, "InternalError")


# --------------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class Match:
    """Which requests: what is None does not matter; `path` and `query` are searched as patterns."""

    method: str | None = None
    kind: str | None = None
    path: str | None = None
    query: str | None = None

    def fits(self, request: Request) -> bool:
        """Whether the request is one of these."""
        return (
            self.method in (None, request.method)
            and self.kind in (None, request.kind)
            and (self.path is None or re.search(self.path, request.path) is not None)
            and (
                self.query is None
                or re.search(self.query, unquote(urlsplit(request.target).query)) is not None
            )
        )


class Rule:
    """A fault for the matching requests from the nth on, for so many, or for a share of them."""

    def __init__(
        self, match: Match, fault: Fault, *, nth: int, times: int | None, share: float, seed: int
    ) -> None:
        self.match, self.fault = match, fault
        self._skip, self._left, self._share = nth - 1, times, share
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._hits = 0

    @property
    def hits(self) -> int:
        """How many requests it struck."""
        return self._hits

    def stop(self) -> None:
        """Strikes no more."""
        with self._lock:
            self._left = 0

    def strikes(self, request: Request) -> bool:
        """Whether this request is struck; asking counts."""
        with self._lock:
            if self._left == 0 or not self.match.fits(request):
                return False
            if self._skip > 0:
                self._skip -= 1
                return False
            if self._random.random() >= self._share:
                return False
            if self._left is not None:
                self._left -= 1
            self._hits += 1
            return True
