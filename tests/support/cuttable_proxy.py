"""A TCP proxy on loopback that cuts all connections on demand, and accepts new ones later on the same port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES = 64 * 1024


class CuttableProxy:
    """Forwards connections to ``port`` of 127.0.0.1. ``url``: base URL through the proxy."""

    def __init__(self, port: int) -> None:
        self._target_port = port
        self._is_open = True
        self._transports: set[asyncio.WriteTransport] = set()
        self.url = ""

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[CuttableProxy]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
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
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._transports |= {writer.transport, target_writer.transport}
        await asyncio.gather(_forward(reader, target_writer), _forward(target_reader, writer))


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    writer.close()
