"""A connection that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Literal

from tests.torture.settings import PATIENCE


class Line:
    """Passes connections on to a server, unless it is cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._state: Literal["open", "closed", "silent"] = "open"
        self._writers: set[asyncio.StreamWriter] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()

    def cut(self, how: Literal["closed", "silent"]) -> None:
        """``closed``: connections end, new ones as well. ``silent``: what is sent is lost."""
        self._loop.call_soon_threadsafe(self._change, how)

    def lead_to(self, port: int) -> None:
        """From the next connection on."""
        self._port = port

    def mend(self) -> None:
        self._loop.call_soon_threadsafe(self._change, "open")

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(PATIENCE)
        self._loop.close()

    def _change(self, state: Literal["open", "closed", "silent"]) -> None:
        self._state = state
        if state != "silent":
            for writer in self._writers:
                writer.transport.abort()

    async def _run(self) -> None:
        async with await asyncio.start_server(self._accept, sock=self._listener):
            await self._end.wait()
            self._change("closed")
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.ExitStack() as stack:
            self._keep(writer, stack)
            if self._state == "closed":
                return
            try:
                there = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:  # the server is down: so is the line
                return
            self._keep(there[1], stack)
            await asyncio.gather(self._pass(reader, there[1]), self._answer(there[0], writer))

    def _keep(self, writer: asyncio.StreamWriter, stack: contextlib.ExitStack) -> None:
        # asyncio does not, for what a socket made by create_server accepts: 40 ms for each answer
        # of two parts.
        with contextlib.suppress(OSError):  # it has hung up already
            one = writer.get_extra_info("socket")
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._writers.add(writer)
        stack.callback(self._writers.discard, writer)
        stack.callback(writer.transport.abort)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._pass(reader, writer)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self._state == "open":
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()
