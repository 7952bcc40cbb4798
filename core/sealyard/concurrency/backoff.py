"""Delays between the attempts of an operation: tables of delays with jitter, and a backoff with a total timeout."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random, SystemRandom

from sealyard.model.clock import Clock

_random = SystemRandom()


@dataclass(frozen=True)
class RetryDelays:
    """Delays in seconds before consecutive retries; the last one repeats.

    Each delay is multiplied by a random factor between the two values of ``jitter``, so that clients that failed at the
    same time do not all retry at once.
    """

    seconds: tuple[float, ...]
    jitter: tuple[float, float] = (1.0, 1.0)

    @classmethod
    def exponential(
        cls, first_delay: float, max_delay: float, *, factor: float = 2.0, jitter: tuple[float, float] = (1.0, 1.0)
    ) -> RetryDelays:
        """Return delays that start with ``first_delay`` and are multiplied by ``factor`` up to ``max_delay``."""
        seconds = [first_delay]
        while seconds[-1] < max_delay:
            seconds.append(min(seconds[-1] * factor, max_delay))
        return cls(tuple(seconds), jitter)

    def delay_after(self, failure_count: int, random: Random = _random) -> float:
        """Return the delay in seconds after ``failure_count`` consecutive failures (at least 1)."""
        return self.seconds[min(failure_count, len(self.seconds)) - 1] * random.uniform(*self.jitter)


class Backoff:
    """Counts the consecutive failures of an operation and determines the delays between its attempts."""

    def __init__(
        self, delays: RetryDelays, clock: Clock, *, timeout: float | None = None, random: Random = _random
    ) -> None:
        """``timeout``: seconds after which :meth:`wait` raises the error instead of waiting; None means never."""
        self._delays = delays
        self._clock = clock
        self._timeout = timeout
        self._random = random
        self.reset()

    def reset(self) -> None:
        """Start over after a success: with the first delay and the whole timeout."""
        self._failure_count = 0
        self._started_at = self._clock.monotonic()

    def next_delay(self) -> float:
        """Count a failure, and return the delay in seconds before the next attempt."""
        self._failure_count += 1
        return self._delays.delay_after(self._failure_count, self._random)

    async def wait(self, error: Exception, at_least: float = 0.0) -> None:
        """Count a failure, and wait before the next attempt: ``at_least`` seconds plus the next delay.

        Raises ``error`` immediately if the timeout would expire during the wait.
        """
        seconds = at_least + self.next_delay()
        elapsed = self._clock.monotonic() - self._started_at
        if self._timeout is not None and elapsed + seconds > self._timeout:
            raise error
        await self._clock.sleep(seconds)
