"""Limit of the signatures per second of a process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from sealyard.model.errors import KeyProviderUnavailableError

MAX_WAIT_SECONDS = 10.0
"""How long a request waits for its turn. Together with the time of all attempts, less than a worker waits."""


class SignatureLimiter:
    """Rate limit that permits the signatures of one second at once. Must be used on one event loop."""

    def __init__(self, per_second: float | None, now: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._burst_seconds = max(1.0 - self._interval, 0.0)
        self._now = now
        self._due_at = 0.0
        """When the next signature is due if signatures are made at the permitted rate."""

    async def acquire(self, uri: str) -> None:
        """Wait until a signature is permitted.

        Raises :class:`KeyProviderUnavailableError` if this would take more than :data:`MAX_WAIT_SECONDS`.
        """
        now = self._now()
        due_at = max(self._due_at, now - self._burst_seconds)
        if due_at - now > MAX_WAIT_SECONDS:
            raise KeyProviderUnavailableError(
                f"Too many signatures with {uri} are waiting for the limit signatures_per_second.",
                "Try again later, or raise the limit in the worker settings.",
            )
        self._due_at = due_at + self._interval
        if due_at > now:
            await asyncio.sleep(due_at - now)
