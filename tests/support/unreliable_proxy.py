"""A TCP proxy on loopback that throttles and breaks connections."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PIECE = 64 * 1024
LAG = 0.02
"""Minimum delay in seconds, because an event loop cannot sleep for fractions of a millisecond."""


class UnreliableProxy:
    """Breaks the first ``cuts`` connections, each after ``first`` to ``last`` bytes in both directions.

    ``rate`` is the limit in bytes per second and direction; None is unlimited. ``passed`` counts the transferred bytes.
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
        """Yield the URL of the proxy."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=PIECE)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        budget = [self._random.randint(*self._span) if self.broken < self._cuts else None]
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._port, limit=PIECE)
        except OSError:
            writer.transport.abort()
            return
        directions = [
            asyncio.create_task(self._forward(reader, to_writer, budget)),
            asyncio.create_task(self._forward(to_reader, writer, budget)),
        ]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in directions:
                task.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            # Abort instead of close, so that the peer receives a reset.
            for end in (writer, to_writer):
                end.transport.abort()

    async def _forward(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, budget: list[int | None]
    ) -> None:
        due = time.monotonic()
        with contextlib.suppress(OSError):
            while piece := await source.read(PIECE):
                remaining = budget[0]
                if remaining is not None and (remaining := remaining - len(piece)) <= 0:
                    self.broken += 1
                    return
                budget[0] = remaining
                target.write(piece)
                await target.drain()
                self.passed += len(piece)
                if self._rate is not None:
                    due = max(due, time.monotonic() - LAG) + len(piece) / self._rate
                    await _sleep_until(due)
            # A complete body must reach the peer before this direction is closed.
            await target.drain()
            await asyncio.sleep(0.05)


async def _sleep_until(due: float) -> None:
    if (delay := due - time.monotonic()) > LAG:
        await asyncio.sleep(delay)
