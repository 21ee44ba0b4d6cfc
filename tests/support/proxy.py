"""A proxy between a client and an object store (plain HTTP, loopback) that fails on demand.

Requests reach the store as they were sent, Host included, so signatures stay good: the client signs
for the proxy's address and the store checks the address it reads. Only `Expect: 100-continue` is
answered here; no signature covers it.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from .proxy_faults import (
    Answer,
    CutAnswer,
    CutUpload,
    Delay,
    Fault,
    LostAnswer,
    Match,
    Refuse,
    Request,
    Rule,
    SkewDate,
)
from .tcp_proxy import LoopbackProxy

__all__ = ["HttpProxy", "Seen"]

_PIECE = 1 << 16
_SETTLE_SECONDS = 0.5
_ANYTHING = Match()

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that came by; status 0 when no answer went back whole.

    ``begun``: when it came, by the monotonic clock.
    """

    request: Request
    status: int
    begun: float
    seconds: float
    fault: Fault | None


@dataclass(slots=True)
class _Answered:
    """The head of an answer, and all of it when it is kept."""

    head: bytes
    status: int
    headers: dict[str, str]
    body: bytes = b""


@dataclass(slots=True)
class _Listing:
    """A remembered answer to a LIST and how often it was replayed."""

    answer: _Answered
    made: float = field(default_factory=time.monotonic)
    replayed: int = 0


class _Cut(OSError):
    """The order to drop the client's connection."""


class HttpProxy(LoopbackProxy):
    """See the module; make rules with `on`, read what came by with `seen`, `counts` and others."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        assert parts.hostname is not None
        super().__init__(parts.hostname, parts.port or 80)
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._idle: deque[tuple[Reader, Writer]] = deque()
        self._seen: list[Seen] = []
        self._in_flight = self._most_in_flight = 0
        self._listings: dict[str, _Listing] = {}
        self._stale: tuple[int, float] = (0, 0.0)

    @property
    def endpoint(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    # ------------------------------------------------------------------ rules

    def on(
        self,
        match: Match,
        fault: Fault,
        *,
        nth: int = 1,
        times: int | None = 1,
        share: float = 1.0,
        seed: int = 0,
    ) -> Rule:
        """Strikes matching requests from the nth on: `times` of them (None: all), or a share."""
        rule = Rule(match, fault, nth=nth, times=times, share=share, seed=seed)
        with self._lock:
            self._rules.append(rule)
        return rule

    @contextlib.contextmanager
    def storm(
        self, fault: Fault, match: Match = _ANYTHING, *, share: float = 1.0, seed: int = 0
    ) -> Generator[Rule]:
        """Strikes all matching requests, or a share of them, as long as the block lasts."""
        rule = self.on(match, fault, times=None, share=share, seed=seed)
        try:
            yield rule
        finally:
            self.remove(rule)

    def remove(self, rule: Rule) -> None:
        """Forgets a rule."""
        rule.stop()
        with self._lock:
            self._rules.remove(rule)

    def clear(self) -> None:
        """Forgets all rules, remembered listings and what came by."""
        with self._lock:
            self._rules.clear()
            self._listings.clear()
            self._stale = (0, 0.0)
        self.forget()

    def forget(self) -> None:
        """Forgets what came by; rules stay."""
        with self._lock:
            self._seen.clear()
            self._most_in_flight = self._in_flight

    def stale_listings(self, *, replays: int = 0, seconds: float = 0.0) -> None:
        """From now on a LIST's answer is given to the same request again, so often or so long.

        The first of its kind is true; the next ones do not show what changed since. Zero for both
        makes listings true again.
        """
        with self._lock:
            self._listings.clear()
            self._stale = (replays, seconds)

    # ------------------------------------------------------------ what came by

    def seen(self, match: Match = _ANYTHING) -> list[Seen]:
        """The finished requests that match, in the order of their ends."""
        self._settle()
        with self._lock:
            return [one for one in self._seen if match.fits(one.request)]

    def counts(self) -> Counter[str]:
        """How many requests of each kind came by."""
        self._settle()
        with self._lock:
            return Counter(one.request.kind for one in self._seen)

    def _settle(self) -> None:
        """A client may have its answer before that is written down here; those held stay away."""
        until = time.monotonic() + _SETTLE_SECONDS
        while self._in_flight and time.monotonic() < until:
            time.sleep(0.001)

    @property
    def max_in_flight(self) -> int:
        """The most requests at once since the start or the last `clear`."""
        return self._most_in_flight

    def _note(self, request: Request, status: int, begun: float, fault: Fault | None) -> None:
        one = Seen(request, status, begun, time.monotonic() - begun, fault)
        with self._lock:
            self._seen.append(one)

    # --------------------------------------------------------------- requests

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        while (head := await _head(reader)) is not None:
            request = _request(head)
            begun = time.monotonic()
            exchange = _Exchange(request, reader, writer)
            with self._lock:
                self._in_flight += 1
                self._most_in_flight = max(self._most_in_flight, self._in_flight)
            try:
                await self._exchange(exchange)
            finally:
                with self._lock:
                    self._in_flight -= 1
                self._note(request, exchange.status, begun, exchange.fault)
            if _closes(request.headers):
                return

    async def _exchange(self, exchange: _Exchange) -> None:
        """One request and its answer, with all that befalls them."""
        for struck in self._faults(exchange.request):
            exchange.fault = struck
            if isinstance(struck, Delay):
                await asyncio.sleep(struck.seconds)
            elif isinstance(struck, SkewDate):
                exchange.skew = struck.seconds
        fault = exchange.fault
        if isinstance(fault, Refuse):
            raise _Cut
        if isinstance(fault, Answer):
            await _swallow(exchange)
            await _reply(exchange, _error(fault, exchange.request))
            return
        listing = self._remembered(exchange.request)
        if listing is not None:
            await _swallow(exchange)
            await _reply(exchange, listing)
            return
        await self._forward(exchange)

    def _faults(self, request: Request) -> list[Fault]:
        """What strikes it: delays and skews, and of the others the first."""
        struck: list[Fault] = []
        with self._lock:
            rules = list(self._rules)
        for rule in rules:
            if rule.strikes(request):
                struck.append(rule.fault)
                if not isinstance(rule.fault, Delay | SkewDate):
                    break
        return struck

    async def _forward(self, exchange: _Exchange) -> None:
        reader, writer = await self._store()
        fine = False
        try:
            await self._upload(exchange, writer)
            answer = _answer(await _answer_head(reader))
            fine = await self._answer_back(exchange, answer, reader)
            fine = fine and not _closes(answer.headers)
        finally:
            if fine:
                self._idle.append((reader, writer))
            else:
                self._abort(writer)

    async def _store(self) -> tuple[Reader, Writer]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof() and not writer.transport.is_closing():
                return reader, writer
            self._abort(writer)
        return await self._connect()

    async def _upload(self, exchange: _Exchange, store: Writer) -> None:
        request, fault = exchange.request, exchange.fault
        left = fault.after if isinstance(fault, CutUpload) else None
        store.write(_sent(request))
        await _continue(exchange)
        async for piece in _body(exchange.reader, request.headers, has_body=True):
            store.write(piece if left is None else piece[:left])
            await store.drain()
            if left is not None:
                left = max(left - len(piece), 0)
                if left == 0:
                    break
        if isinstance(fault, CutUpload):
            # Closed in order, for the store to see the bytes it got; an abort may drop them.
            store.close()
            raise _Cut

    async def _answer_back(self, exchange: _Exchange, answer: _Answered, reader: Reader) -> bool:
        """Passes the answer on; whether the store's connection can be used again."""
        request, fault = exchange.request, exchange.fault
        kept = self._stale != (0, 0.0) and request.kind == "LIST" and answer.status == 200
        silent = isinstance(fault, LostAnswer)
        left = fault.after if isinstance(fault, CutAnswer) else None
        pieces: list[bytes] = []
        if not silent:
            exchange.writer.write(_skewed(answer.head, exchange.skew))
        has_body = request.method != "HEAD" and answer.status not in (204, 304)
        async for piece in _body(reader, answer.headers, has_body=has_body, answer=True):
            if kept:
                pieces.append(piece)
            if silent:
                continue
            exchange.writer.write(piece if left is None else piece[:left])
            await exchange.writer.drain()
            if left is not None:
                left = max(left - len(piece), 0)
                if left == 0:
                    break
        if silent:
            raise _Cut
        await exchange.writer.drain()
        if isinstance(fault, CutAnswer):
            exchange.writer.close()  # what was sent shall arrive
            await asyncio.sleep(0.01)
            raise _Cut
        if kept:
            self._remember(request, _Answered(answer.head, 200, answer.headers, b"".join(pieces)))
        exchange.status = answer.status
        return "content-length" in answer.headers or "transfer-encoding" in answer.headers

    # --------------------------------------------------------------- listings

    def _remember(self, request: Request, answer: _Answered) -> None:
        with self._lock:
            self._listings[request.target] = _Listing(answer)

    def _remembered(self, request: Request) -> _Answered | None:
        with self._lock:
            replays, seconds = self._stale
            known = self._listings.get(request.target) if request.kind == "LIST" else None
            if known is None:
                return None
            if known.replayed < replays or time.monotonic() < known.made + seconds:
                known.replayed += 1
                return known.answer
            del self._listings[request.target]
            return None

    async def _cut(self) -> None:
        self._idle.clear()
        await super()._cut()


@dataclass(slots=True)
class _Exchange:
    """A request under way on the client's connection."""

    request: Request
    reader: Reader
    writer: Writer
    status: int = 0
    fault: Fault | None = None
    skew: float = 0.0


# ----------------------------------------------------------------- the protocol


async def _head(reader: Reader) -> bytes | None:
    """The next head on a connection; None when it ended in between."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as ended:
        if ended.partial:
            raise
        return None


async def _answer_head(reader: Reader) -> bytes:
    head = b"HTTP/1.1 100"
    while head[9:12] == b"100":
        head = await reader.readuntil(b"\r\n\r\n")
    return head


def _lines(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = [line.split(":", 1) for line in lines]
    return first, {name.strip().lower(): value.strip() for name, value in pairs}


def _request(head: bytes) -> Request:
    first, headers = _lines(head)
    method, target, _version = first.split(" ")
    return Request(method, target, headers, head)


def _sent(request: Request) -> bytes:
    """The head for the store: as it came, but for Expect."""
    lines = request.raw.decode("latin-1").split("\r\n")
    kept = [line for line in lines if not line.lower().startswith("expect:")]
    return "\r\n".join(kept).encode("latin-1")


def _answer(head: bytes) -> _Answered:
    first, headers = _lines(head)
    return _Answered(head, int(first.split(" ")[1]), headers)


def _closes(headers: dict[str, str]) -> bool:
    return headers.get("connection", "").lower() == "close"


async def _body(
    reader: Reader, headers: dict[str, str], *, has_body: bool, answer: bool = False
) -> AsyncGenerator[bytes]:
    """A body in pieces as they stand on the wire, chunk marks included."""
    if not has_body:
        return
    if "chunked" in headers.get("transfer-encoding", "").lower():
        async for piece in _chunks(reader):
            yield piece
        return
    length = headers.get("content-length")
    left = int(length) if length is not None else (-1 if answer else 0)
    while left:
        piece = await reader.read(_PIECE if left < 0 else min(left, _PIECE))
        if not piece:
            if left > 0:
                raise _Cut
            return
        left -= len(piece) if left > 0 else 0
        yield piece


async def _chunks(reader: Reader) -> AsyncGenerator[bytes]:
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";", 1)[0], 16)
        yield line
        if size == 0:
            break
        yield await reader.readexactly(size + 2)
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        yield line
    yield line


async def _continue(exchange: _Exchange) -> None:
    if exchange.request.headers.get("expect", "").lower() == "100-continue":
        exchange.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await exchange.writer.drain()


async def _swallow(exchange: _Exchange) -> None:
    """Reads the body of a request that is not forwarded, so that the next one can be read."""
    await _continue(exchange)
    async for _piece in _body(exchange.reader, exchange.request.headers, has_body=True):
        pass


async def _reply(exchange: _Exchange, answer: _Answered) -> None:
    exchange.writer.write(_skewed(answer.head, exchange.skew) + answer.body)
    await exchange.writer.drain()
    exchange.status = answer.status


def _error(fault: Answer, request: Request) -> _Answered:
    """An error in the store's form."""
    body = (
        fault.body.encode()
        if fault.body is not None
        else (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<Error><Code>{fault.code}</Code><Message>{fault.message}</Message>"
            "<RequestId>proxy</RequestId><HostId>proxy</HostId></Error>"
        ).encode()
    )
    headers = {
        "Content-Type": "application/xml",
        "Content-Length": str(len(body)),
        "Date": email.utils.formatdate(usegmt=True),
        "x-amz-request-id": "proxy",
        **dict(fault.headers),
    }
    lines = [f"HTTP/1.1 {fault.status} {fault.code}", *(f"{k}: {v}" for k, v in headers.items())]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return _Answered(head, fault.status, {}, b"" if request.method == "HEAD" else body)


def _skewed(head: bytes, seconds: float) -> bytes:
    """The head with its Date moved."""
    if not seconds:
        return head
    date = email.utils.formatdate(time.time() + seconds, usegmt=True)
    lines = head.decode("latin-1").split("\r\n")
    moved = [f"Date: {date}" if line.lower().startswith("date:") else line for line in lines]
    return "\r\n".join(moved).encode("latin-1")
