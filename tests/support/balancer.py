"""A load balancer on loopback: each connection goes to one of several servers that accepts it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

from tests.support.cuttable_proxy import forward


class Balancer:
    """Forwards each connection to a random port of 127.0.0.1 that accepts it. ``url``: base URL for clients."""

    def __init__(self, ports: Sequence[int], random: Random) -> None:
        self._ports = ports
        self._random = random
        self.url = ""

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[Balancer]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for port in self._random.sample(self._ports, len(self._ports)):
            try:
                target_reader, target_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            await asyncio.gather(forward(reader, target_writer), forward(target_reader, writer))
            return
        writer.transport.abort()
