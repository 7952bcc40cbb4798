"""Exponential backoff with jitter and a total timeout."""

from __future__ import annotations

from datetime import timedelta
from random import SystemRandom

from sealyard.model.clock import Clock
from sealyard.model.errors import SealyardError

FIRST_PAUSE = 0.1
"""Maximum delay before the first retry, in seconds; it doubles for each further one."""

MAX_PAUSE = 5.0
"""Upper limit of the doubled delay, in seconds."""

_random = SystemRandom()


class Backoff:
    """Delays between the attempts of one call. Attempts end after ``patience`` seconds; None means never."""

    def __init__(self, clock: Clock, patience: float | None) -> None:
        self._clock = clock
        self._patience = patience
        self.blocking_error: SealyardError | None = None
        """Known reason why the next attempt will fail as well; it explains more than that the server is unreachable."""
        self.reset()

    def reset(self) -> None:
        """Start over after a success: with the first delay and the whole timeout."""
        self.blocking_error = None
        self._failures = 0
        self._started_at = self._clock.now()

    async def wait(self, error: SealyardError, at_least: float = 0.0) -> None:
        """Wait before the next attempt, for at least ``at_least`` seconds.

        The delays double. Half of each is random, so that clients that lost a server at the same time do not all
        reconnect at once. Raises ``error`` immediately if the timeout would expire during the wait.
        """
        max_delay = min(MAX_PAUSE, FIRST_PAUSE * 2**self._failures)
        seconds = at_least + max_delay * _random.uniform(0.5, 1.0)
        elapsed = self._clock.now() - self._started_at
        if self._patience is not None and elapsed + timedelta(seconds=seconds) > timedelta(seconds=self._patience):
            raise error
        self._failures = min(self._failures + 1, 10)
        await self._clock.sleep(seconds)
