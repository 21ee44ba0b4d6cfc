"""A worker process: takes one message at a time, rewrites, answers. Started by `supervisor.py`.

It reads from stdin and answers on what was stdout when it started; anything printed later goes to
stderr, so that no library can garble an answer. When stdin ends the parent is gone and so is the
worker, at once and in the middle of a task: what it wrote is in the journal and is swept.

Answers are ``{"ok": …}``, ``{"error": {"kind", "message", "context", "traceback"}}`` or
``{"panic": message}``, each with ``rss_bytes`` and the ``requests`` to stores. The outermost frame
below is the only place that catches what is no `Exception`: a panic of Polars is a `BaseException`.
"""

from __future__ import annotations

import os
import queue
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import cast

import msgspec
from polars.exceptions import PanicException

from ..table.errors import TableError
from ..table.storage.requests import REQUESTS
from .frames import Message, read_frame, write_frame

Call = Callable[[Message], Message]


def serve(calls: Mapping[str, Call]) -> None:
    """Answer messages ``{"call": name, "args": {…}}`` with ``calls[name](args)``, for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, who drains
    answers = os.dup(1)
    os.dup2(2, 1)
    inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(inbox,), daemon=True).start()
    write_frame(answers, {"ok": {"pid": os.getpid()}, "rss_bytes": rss_bytes()})
    while True:
        message = inbox.get()
        try:
            answer = _answer(calls, message)
        except PanicException as panic:
            answer = {"panic": str(panic)}
        counts = REQUESTS.take().as_rows()
        write_frame(answers, {**answer, "rss_bytes": rss_bytes(), "requests": counts})


def rss_bytes() -> int:
    """Memory of this process now; where the system does not tell, the most it ever was."""
    try:
        with open("/proc/self/statm", "rb") as stream:
            return int(stream.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _receive(inbox: queue.SimpleQueue[Message]) -> None:
    try:
        while True:
            inbox.put(read_frame(0))
    finally:
        os._exit(0)


def _answer(calls: Mapping[str, Call], message: Message) -> Message:
    try:
        return {"ok": calls[str(message["call"])](cast("Message", message["args"]))}
    except Exception as error:  # noqa: BLE001  travels to the parent, which decides by its type
        return {"error": _described(error)}


def _described(error: Exception) -> Message:
    """An error as plain data; `supervisor.py` builds the same table error from it."""
    if isinstance(error, TableError):
        context = {key: str(value) for key, value in error.context.items()}
        return {"kind": type(error).__name__, "message": error.message, "context": context}
    text = "".join(traceback.format_exception(error))
    kind = type(error).__name__
    return {"kind": kind, "message": str(error), "context": {}, "traceback": text}


def rewrite_call(args: Message) -> Message:
    """``{"plan": text, "options": {…}, "store": {…} or null}`` → ``{"result": text}``, by
    `table.compact.rewrite`."""
    from ..table.compact import CompactionPlan, RewriteOptions, rewrite
    from ..table.handle import TableHandle
    from ..table.storage import StoreOptions, open_storage

    options = msgspec.convert(args["options"], RewriteOptions)
    store = msgspec.convert(args["store"], StoreOptions | None)
    plan = CompactionPlan.from_json(str(args["plan"]))
    handle = TableHandle(plan.table, plan.path, open_storage(plan.path, store))
    result = rewrite(plan, options, handle)
    return {"result": result.to_json()}


def main() -> None:
    """What ``python -m desilt.daemon.worker`` runs."""
    # Imported before the first task, so that a started worker is a warm one.
    from ..table import compact

    if not callable(compact.rewrite):
        sys.exit(1)
    serve({"ping": lambda args: {}, "rewrite": rewrite_call})


if __name__ == "__main__":
    main()
