"""The system's clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


class SystemClock:
    """See :class:`sealyard.model.clock.Clock`."""

    def __init__(self) -> None:
        self._last = datetime.now(UTC)

    def now(self) -> datetime:
        self._last = max(self._last, datetime.now(UTC))
        return self._last

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
