"""Rate limiting with one token bucket for each key, such as a subject."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from sealyard.model.errors import TooManyRequestsError

BURST_SECONDS = 10.0
"""Size of a bucket, in seconds: all requests that the rate allows in this time can arrive at once."""

MAX_BUCKETS = 10_000
"""Maximum number of buckets. The least recently used one, which has had the most time to refill, is discarded first."""


class TokenBucketLimiter:
    """Rate limiter that counts the requests of each key separately, and allows short bursts.

    ``per_minute``: number of requests allowed per minute. ``now``: returns the time of a monotonic clock in seconds.
    """

    def __init__(self, per_minute: float, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60
        self._capacity = max(1.0, self._rate * BURST_SECONDS)
        self._now = now
        self._buckets: dict[str, tuple[float, float]] = {}
        """Level and time of the last update of each bucket; the least recently used bucket is first."""

    def acquire(self, key: str) -> None:
        """Count one request for ``key``.

        Raises :class:`TooManyRequestsError` if the limit is exceeded; its ``retry_after`` is the time in seconds until
        the next request is allowed.
        """
        now = self._now()
        level, updated_at = self._buckets.pop(key, (self._capacity, now))
        level = min(self._capacity, level + (now - updated_at) * self._rate)
        is_allowed = level >= 1
        self._buckets[key] = (level - 1 if is_allowed else level, now)
        if len(self._buckets) > MAX_BUCKETS:
            del self._buckets[next(iter(self._buckets))]
        if not is_allowed:
            delay = (1 - level) / self._rate
            raise TooManyRequestsError(
                "Too many requests.", f"Retry after {_format_seconds(delay)}.", retry_after=delay
            )


def _format_seconds(delay: float) -> str:
    seconds = max(1, math.ceil(delay))
    return "1 second" if seconds == 1 else f"{seconds} seconds"
