"""A clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

START = datetime(2026, 11, 23, 8, 0, 0, 500_000, tzinfo=UTC)
"""Not a whole second: periods end where they end."""


class FakeClock:
    """See :class:`sealyard.model.clock.Clock`. Sleepers wake when the clock is moved behind their time."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._numbers = count()
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._numbers), woken))
        await woken

    def has_sleeper(self, seconds: float) -> bool:
        """Whether somebody sleeps who would wake within ``seconds``."""
        until = self._now + timedelta(seconds=seconds)
        return any(wake <= until and not woken.done() for wake, _, woken in self._sleepers)

    def move_to(self, now: datetime) -> None:
        assert now >= self._now
        self._now = now
        while self._sleepers and self._sleepers[0][0] <= now:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    def advance(self, **by: float) -> None:
        """``move(hours=1)``, ``move(microseconds=1)``."""
        self.move_to(self._now + timedelta(**by))
