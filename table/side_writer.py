"""A second file written beside the first: frames are handed over, a thread encodes them.

Encoding pulls its input, and a rewrite has one source and two outputs; so one of them is fed from
here, through a queue that holds two frames at the most.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import polars as pl

from .manifest.entry import DataFile
from .output import OutputWriter

QUEUE_FRAMES = 2


class SideWriter:
    """Use as a context: leaving it without `finish` gives the files up.

    Raises (`put` and `finish`): what writing raised.
    """

    def __init__(self, writer: OutputWriter) -> None:
        self._writer = writer
        self._queue: queue.Queue[pl.DataFrame | None] = queue.Queue(QUEUE_FRAMES)
        self._files: tuple[DataFile, ...] = ()
        self._error: BaseException | None = None
        self._done = threading.Event()
        self._given_up = False
        self._thread = threading.Thread(target=self._write, name="side-writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread.is_alive():
            self._given_up = True
            self._hand_over(None)
            self._thread.join()

    def put(self, frame: pl.DataFrame) -> None:
        """Write these rows next; waits while the thread is behind."""
        if frame.height:
            self._hand_over(frame)
        if self._done.is_set():
            self._raise()

    def finish(self) -> tuple[DataFile, ...]:
        """No more rows; the finished files, () without any rows."""
        self._hand_over(None)
        self._thread.join()
        self._raise()
        return self._files

    def _hand_over(self, frame: pl.DataFrame | None) -> None:
        while not self._done.is_set():
            try:
                self._queue.put(frame, timeout=0.1)
            except queue.Full:
                continue
            return

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _write(self) -> None:
        try:
            self._files = self._writer.write(self._frames())
        except BaseException as error:  # noqa: BLE001  raised again where the rows come from
            self._error = error
        finally:
            self._done.set()

    def _frames(self) -> Iterator[pl.DataFrame]:
        while (frame := self._queue.get()) is not None:
            yield frame
        if self._given_up:
            raise _GivenUpError


class _GivenUpError(Exception):
    """Stops an encoder whose file nobody wants any more."""
