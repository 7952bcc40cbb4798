"""The system clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


class SystemClock:
    """The :class:`sealyard.model.clock.Clock` of the operating system.

    If the system time is set back, :meth:`now` returns the last value until the system time has caught up.
    """

    def __init__(self) -> None:
        self._last_time = datetime.now(UTC)

    def now(self) -> datetime:
        self._last_time = max(self._last_time, datetime.now(UTC))
        return self._last_time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
