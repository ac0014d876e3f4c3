"""The lines between processes and a server, one per process, so that each can be cut alone.

All of 127.0.0.0/8 is this machine. Every process connects to an address that is derived from its
id, and the exchange, which listens on all of them, knows by the address whose line it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

#: ``refused``: as by Redis when it has no connection left. ``silent``: no answer at all.
Cut = Literal["refused", "silent"]
CUTS: tuple[Cut, ...] = ("refused", "silent")

T = TypeVar("T")

REFUSAL = b"-ERR max number of clients reached\r\n"


def line_of(pid: int) -> str:
    """The address of a process's line."""
    return f"127.{1 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}"


def own_url(url: str, pid: int) -> str:
    """The *url* of the exchange as the process with this id sees it."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{line_of(pid)}:{parts.port}").geturl()


class Exchange:
    """A context. Thread-safe; its own thread carries the data."""

    def __init__(self, port: int) -> None:
        """*port* is the server's, on 127.0.0.1."""
        self.url = ""
        self._port = port
        self._cuts: dict[str, Cut] = {}
        self._newcomers: tuple[Cut, int, Callable[[str], bool]] | None = None
        self._cut_as_newcomers: set[str] = set()
        self._known: set[str] = set()
        self._open: dict[str, set[asyncio.Task[None]]] = {}
        self._dead: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lines", daemon=True)

    def __enter__(self) -> Exchange:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "0.0.0.0", 0))
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self, pid: int, how: Cut) -> None:
        """Cut the line of one process, until :meth:`heal`."""
        self._loop.call_soon_threadsafe(self._cut, line_of(pid), how)

    def die(self, pid: int) -> None:
        """Stop carrying data over a process's connections, without closing them."""
        self._loop.call_soon_threadsafe(self._die, line_of(pid))

    def cut_newcomers(self, how: Cut, most: int, spared: Callable[[str], bool]) -> None:
        """Cut the next *most* new lines, except *spared* ones, until :meth:`heal_newcomers`."""
        self._newcomers = how, most, spared

    def heal(self, lines: Collection[str]) -> None:
        """Let these *lines* be used again."""
        self._loop.call_soon_threadsafe(self._heal, lines)

    def heal_newcomers(self) -> dict[str, list[str]]:
        """Stop cutting newcomers, heal those that were cut, and return which those were."""
        self._newcomers = None
        cut, self._cut_as_newcomers = self._cut_as_newcomers, set()
        self.heal(cut)
        return {"lines": sorted(cut)}

    def _cut(self, line: str, how: Cut) -> None:
        self._cuts[line] = how
        if how == "refused":
            self._drop(line)
        # A silent line stays up: the coroutine that carries for it sees that it is cut.

    def _die(self, line: str) -> None:
        self._dead.update(self._open.get(line, ()))

    def _heal(self, lines: Collection[str]) -> None:
        for line in lines:
            if self._cuts.pop(line, None):
                # Data from meanwhile is not delivered later: the connections end.
                self._drop(line)

    def _drop(self, line: str) -> None:
        for task in self._open.get(line, ()):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = writer.get_extra_info("sockname")[0]
        if line not in self._known:
            self._known.add(line)
            if self._newcomers:
                how, most, spared = self._newcomers
                if len(self._cut_as_newcomers) < most and not spared(line):
                    self._cuts[line] = how
                    self._cut_as_newcomers.add(line)
        task = asyncio.current_task()
        assert task is not None
        self._open.setdefault(line, set()).add(task)
        try:
            await self._carry(line, reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open[line].discard(task)
            self._dead.discard(task)
            writer.transport.abort()

    async def _carry(
        self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self._cuts.get(line) == "refused":
            writer.write(REFUSAL)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        whole = asyncio.current_task()
        ways = [
            asyncio.ensure_future(
                self._pass_on(lambda: line in self._cuts or whole in self._dead, *way)
            )
            for way in ((reader, back), (there, writer))
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            back.transport.abort()

    async def _pass_on(
        self,
        cut: Callable[[], bool],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        data = b"-"
        while data:
            data = await reader.read(65536)
            if cut():
                await asyncio.Event().wait()  # until the connection is dropped
            writer.write(data)
            await writer.drain()

    async def _close(self) -> None:
        self._server.close()
        tasks = [task for tasks in self._open.values() for task in tasks]
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10.0)
