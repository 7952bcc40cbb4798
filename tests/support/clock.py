"""A clock that tests advance."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

START = datetime(2026, 11, 23, 8, 0, 0, 500_000, tzinfo=UTC)
"""Not a whole second, so that rounding errors become visible."""

BOOT = START - timedelta(days=365)
"""When the machine was booted."""


class FakeClock:
    """A :class:`sealyard.model.clock.Clock` that only moves when a test advances it, which wakes the sleepers."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self.boot: str | None = "boot 1"
        """The result of :meth:`boot_id`."""
        self._booted_at = BOOT
        self._numbers = count()
        self._sleepers: list[tuple[datetime, int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return (self._now - self._booted_at).total_seconds()

    def boot_id(self) -> str | None:
        return self.boot

    def reboot(self) -> None:
        """Restart the monotonic time under a new boot id. The system time is unchanged."""
        self.boot = f"{self.boot}+1"
        self._booted_at = self._now

    def jump(self, **by: float) -> None:
        """Set the system time without waking a sleeper, for example by ``days=60`` or ``hours=-2``."""
        self._booted_at += timedelta(**by)
        self._now += timedelta(**by)
        self._sleepers = [(wake + timedelta(**by), number, future) for wake, number, future in self._sleepers]

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + timedelta(seconds=seconds), next(self._numbers), future))
        await future

    def has_sleeper(self, seconds: float) -> bool:
        """Return whether a sleeper would wake within ``seconds``."""
        until = self._now + timedelta(seconds=seconds)
        return any(wake <= until and not future.done() for wake, _, future in self._sleepers)

    def has_sleeper_for(self, seconds: float) -> bool:
        """Return whether a sleeper will wake in exactly ``seconds``."""
        wake_at = self._now + timedelta(seconds=seconds)
        return any(wake == wake_at and not future.done() for wake, _, future in self._sleepers)

    def move_to(self, now: datetime) -> None:
        assert now >= self._now
        self._now = now
        while self._sleepers and self._sleepers[0][0] <= now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def advance(self, **by: float) -> None:
        """Advance the time, for example by ``hours=1`` or ``microseconds=1``."""
        self.move_to(self._now + timedelta(**by))
