"""A proxy that cuts all connections on demand, and accepts new ones later at the same address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

CHUNK_BYTES = 64 * 1024


class CuttableProxy:
    """Forwards connections to a port of 127.0.0.1, or to a Unix socket. ``url``: base URL through the proxy.

    ``delay``: seconds by which each chunk of an answer is delayed.
    """

    def __init__(self, target: int | Path, *, delay: float = 0) -> None:
        self._target = target
        self._delay = delay
        self._is_open = True
        self._transports: set[asyncio.WriteTransport] = set()
        self.url = ""

    @asynccontextmanager
    async def listen(self, socket: Path | None = None, *, port: int = 0) -> AsyncIterator[CuttableProxy]:
        """Listen on the Unix socket ``socket``, or on a port of 127.0.0.1, by default a free one."""
        if socket is not None:
            server = await asyncio.start_unix_server(self._accept, socket)
        else:
            server = await asyncio.start_server(self._accept, "127.0.0.1", port)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            self.cut()
            server.close()

    def cut(self) -> None:
        """Reset all connections, and every new one until :meth:`restore`."""
        self._is_open = False
        for transport in self._transports:
            transport.abort()
        self._transports.clear()

    def restore(self) -> None:
        self._is_open = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._is_open:
            writer.transport.abort()
            return
        try:
            target_reader, target_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        self._transports |= {writer.transport, target_writer.transport}
        await asyncio.gather(forward(reader, target_writer), forward(target_reader, writer, self._delay))
        self._transports -= {writer.transport, target_writer.transport}

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self._target, Path):
            return await asyncio.open_unix_connection(self._target)
        return await asyncio.open_connection("127.0.0.1", self._target)


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float = 0) -> None:
    """Copy everything from ``reader`` to ``writer``, each chunk after ``delay`` seconds, then close it."""
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            if delay:
                await asyncio.sleep(delay)
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    writer.close()
