"""How often somebody may ask: a token bucket each, that fills steadily and lets short bursts pass."""

from __future__ import annotations

import time
from collections.abc import Callable

from sealyard.model.errors import TooManyRequestsError

BURST_SECONDS = 10.0
"""Of steady asking that may come at once."""

MAX_BUCKETS = 10_000
"""Remembered at the same time. Who asked longest ago is forgotten first: its bucket is the fullest."""


class TokenBucketLimiter:
    """``now``: seconds of any steady clock."""

    def __init__(self, per_minute: float, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._full = max(1.0, self._rate * BURST_SECONDS)
        self._now = now
        self._buckets: dict[str, tuple[float, float]] = {}
        """What is in each, and as of when; in the order in which they were asked for."""

    def acquire(self, who: str) -> None:
        """Counts one request of theirs. Raises :class:`TooManyRequestsError`, which says when the next may come."""
        now = self._now()
        level, at = self._buckets.pop(who, (self._full, now))
        level = min(self._full, level + (now - at) * self._rate)
        allowed = level >= 1
        self._buckets[who] = (level - 1 if allowed else level, now)
        if len(self._buckets) > MAX_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        if not allowed:
            raise TooManyRequestsError(
                "That is asked too often.", "Ask more slowly.", retry_after=(1 - level) / self._rate
            )
