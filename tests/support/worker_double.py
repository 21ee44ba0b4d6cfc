"""A worker process whose calls misbehave on request; run by the supervisor's tests."""

from __future__ import annotations

import os
import signal
import sys
import time

from polars.exceptions import PanicException

from desilt.daemon.frames import Message
from desilt.daemon.worker import serve
from desilt.table.errors import BadData


def echo(args: Message) -> Message:
    print("noise that must not reach the parent as an answer")
    return {**args, "pid": os.getpid(), "threads": os.environ["POLARS_MAX_THREADS"]}


def panic(args: Message) -> Message:
    raise PanicException("called unwrap on a None value")


def die(args: Message) -> Message:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def sleep(args: Message) -> Message:
    time.sleep(60)
    return {}


def refuse(args: Message) -> Message:
    raise BadData("no such kind", table="db.t", kind=7)


def bug(args: Message) -> Message:
    return {"value": args["missing"]}


def grow(args: Message) -> Message:
    kept.append(bytearray(os.urandom(1024)) * (200 * 1024))
    return {"pid": os.getpid()}


kept: list[bytearray] = []

if __name__ == "__main__":
    if sys.argv[1:] == ["--broken"]:
        sys.exit(3)
    calls = (echo, panic, die, sleep, refuse, bug, grow)
    serve({call.__name__: call for call in calls})
