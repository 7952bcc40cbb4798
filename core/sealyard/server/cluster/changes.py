"""Notification of coroutines about a change."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class ChangeSignal:
    """Wakes all coroutines that wait for a change. Belongs to one event loop."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake the coroutines that are waiting now."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, seconds: float) -> None:
        """Wait for the next change, for at most ``seconds``."""
        event = self._event
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()
