"""A TCP proxy between a client and a server that can be cut, go away and come back.

It lives on an event loop in a thread of its own; its methods may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Self

__all__ = ["LoopbackProxy", "TcpProxy"]

_PIECE = 1 << 16


class LoopbackProxy:
    """The listening side of a proxy; what it does with a connection is the subclass's."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self.come_back()
        return self

    def __exit__(self, *_error: object) -> None:
        self.go_away()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def go_away(self) -> None:
        """Cuts all connections and refuses new ones, as a server that ended."""
        self._run(self._close)

    def come_back(self) -> None:
        """Listens on the old port again."""
        self._run(self._listen)

    @contextlib.contextmanager
    def away(self) -> Generator[None]:
        """Away as long as the block lasts."""
        self.go_away()
        try:
            yield
        finally:
            self.come_back()

    def cut(self) -> None:
        """Cuts all connections; new ones are welcome."""
        self._run(self._cut)

    def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(timeout=30)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, "127.0.0.1", self.port, backlog=1024, limit=1 << 20
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self._cut()

    async def _cut(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            self._abort(writer)
        await asyncio.sleep(0)  # the transports close at the loop's next turn

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # one side went away, and so does the other
        finally:
            self._tasks.discard(task)
            self._abort(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self._target, limit=1 << 20)
        self._writers.add(writer)
        return reader, writer

    def _abort(self, writer: asyncio.StreamWriter) -> None:
        """Closes at once: what was not sent yet is lost, what was sent arrives."""
        self._writers.discard(writer)
        writer.transport.abort()


class TcpProxy(LoopbackProxy):
    """Passes bytes on, both ways; for protocols of which it knows nothing."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._lose: bytes | None = None
        self._stalled = threading.Event()
        self.lost = 0

    def lose_answer(self, to: bytes) -> None:
        """Cuts the connection that next asks with these bytes, once the server has answered."""
        self._lose = to

    def stall(self) -> None:
        """Holds all bytes back, as a network that drops them."""
        self._stalled.set()

    def resume(self) -> None:
        """Passes bytes on again, those that were held back first."""
        self._stalled.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await self._connect()
        asked = asyncio.Event()
        ways = [
            asyncio.create_task(self._pass_on(reader, server_writer, self._watch(asked))),
            asyncio.create_task(self._pass_on(server_reader, writer, self._lossy(asked))),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._abort(server_writer)

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        keep: Callable[[bytes], bool],
    ) -> None:
        while (piece := await reader.read(_PIECE)) and keep(piece):
            while self._stalled.is_set():
                await asyncio.sleep(0.01)
            writer.write(piece)
            await writer.drain()

    def _watch(self, asked: asyncio.Event) -> Callable[[bytes], bool]:
        def watch(piece: bytes) -> bool:
            if self._lose is not None and self._lose in piece:
                self._lose = None
                asked.set()
            return True

        return watch

    def _lossy(self, asked: asyncio.Event) -> Callable[[bytes], bool]:
        def keep(_piece: bytes) -> bool:
            self.lost += asked.is_set()
            return not asked.is_set()

        return keep
