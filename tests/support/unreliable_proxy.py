"""A line between client and server that is slow, holds back and breaks: a TCP proxy on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PIECE = 64 * 1024
LAG = 0.02
"""Seconds that are held back at once: an event loop cannot wait for a third of a millisecond."""


class UnreliableProxy:
    """``cuts``: how many connections break, each after between ``first`` and ``last`` bytes in both directions.

    ``rate``: bytes a second in each direction, None: as fast as it goes. What has passed is counted in ``passed``.
    """

    def __init__(
        self, port: int, *, cuts: int, first: int, last: int, rate: float | None = None, seed: int = 1
    ) -> None:
        self._port = port
        self._cuts = cuts
        self._span = (first, last)
        self._rate = rate
        self._random = random.Random(seed)
        self.passed = 0
        self.broken = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The URL to reach the server through."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=PIECE)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = [self._random.randint(*self._span) if self.broken < self._cuts else None]
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._port, limit=PIECE)
        except OSError:
            writer.transport.abort()
            return
        ways = [
            asyncio.create_task(self._carry(reader, to_writer, left)),
            asyncio.create_task(self._carry(to_reader, writer, left)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ways:
                each.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            # Not closed in good order: the other side is to see a reset in the middle.
            for end in (writer, to_writer):
                end.transport.abort()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, left: list[int | None]) -> None:
        due = time.monotonic()
        with contextlib.suppress(OSError):
            while piece := await source.read(PIECE):
                budget = left[0]
                if budget is not None and (budget := budget - len(piece)) <= 0:
                    self.broken += 1
                    return
                left[0] = budget
                target.write(piece)
                await target.drain()
                self.passed += len(piece)
                if self._rate is not None:
                    due = max(due, time.monotonic() - LAG) + len(piece) / self._rate
                    await _until(due)
            # A body that ended in good order must reach the other side before this way is shut.
            await target.drain()
            await asyncio.sleep(0.05)


async def _until(due: float) -> None:
    if (ahead := due - time.monotonic()) > LAG:
        await asyncio.sleep(ahead)
