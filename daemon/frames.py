"""Messages between the supervisor and a worker: four bytes of length, then that much JSON.

Plain data only: nothing that is read here can run code.
"""

from __future__ import annotations

import json
import os
import selectors
import struct
import time
from collections.abc import Callable
from typing import cast

_LENGTH = struct.Struct(">I")
# A plan or result names files: 10,000 files with their statistics are about 20 MB. Anything near
# this limit is no message of ours.
FRAME_BYTES_MAX = 1 << 28
_READ_BYTES = 1 << 20

Message = dict[str, object]


class FrameError(Exception):
    """The other side sent what is no message."""


def write_frame(fd: int, message: Message) -> None:
    """Send one message, whole.

    Raises:
        OSError: nobody reads any more.
        FrameError: too long to be sent.
    """
    body = json.dumps(message).encode()
    if len(body) > FRAME_BYTES_MAX:
        raise FrameError(f"message too long, bytes={len(body)}")
    rest = memoryview(_LENGTH.pack(len(body)) + body)
    while rest:
        rest = rest[os.write(fd, rest) :]


def read_frame(fd: int, deadline: float | None = None) -> Message:
    """The next message.

    Args:
        deadline: of `time.monotonic`; None waits for ever.

    Raises:
        EOFError: the other side is gone, in the middle of a message or not.
        TimeoutError: it did not answer in time.
        FrameError: no message.
    """
    wait = _waiter(fd, deadline)
    (length,) = _LENGTH.unpack(_exactly(fd, _LENGTH.size, wait))
    if length > FRAME_BYTES_MAX:
        raise FrameError(f"message too long, bytes={length}")
    try:
        message = json.loads(_exactly(fd, length, wait))
    except ValueError as error:
        raise FrameError(f"no JSON: {error}") from error
    if not isinstance(message, dict):
        raise FrameError("a message is an object")
    return cast("Message", message)


def _exactly(fd: int, length: int, wait: Callable[[], None]) -> bytes:
    chunks: list[bytes] = []
    while length:
        wait()
        chunk = os.read(fd, min(length, _READ_BYTES))
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        length -= len(chunk)
    return b"".join(chunks)


def _waiter(fd: int, deadline: float | None) -> Callable[[], None]:
    """A function that returns when ``fd`` can be read, or raises at the deadline."""

    def wait() -> None:
        if deadline is None:
            return  # os.read waits by itself
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError

    return wait
