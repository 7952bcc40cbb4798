"""Trying again: ever later, at random within bounds, and not for ever."""

from __future__ import annotations

from datetime import timedelta
from random import SystemRandom

from sealyard.model.clock import Clock
from sealyard.model.errors import SealyardError

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0

_random = SystemRandom()


class Backoff:
    """The tries of one call. ``patience``: seconds after which they end; None: never."""

    def __init__(self, clock: Clock, patience: float | None) -> None:
        self._clock = clock
        self._patience = patience
        self.blocking_error: SealyardError | None = None
        """What keeps the next try from being any better than the last: a better word than that nobody answers."""
        self.reset()

    def reset(self) -> None:
        """Something went well."""
        self.blocking_error = None
        self._failures = 0
        self._began = self._clock.now()

    async def wait(self, error: SealyardError, at_least: float = 0.0) -> None:
        """Waits before the next try, ``at_least`` so many seconds. Raises ``error`` where patience would end meanwhile.

        The pauses double, and half of each is left to chance, so that those who lost a server together do not all
        come back at once.
        """
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._failures)
        seconds = at_least + longest * _random.uniform(0.5, 1.0)
        spent = self._clock.now() - self._began
        if self._patience is not None and spent + timedelta(seconds=seconds) > timedelta(seconds=self._patience):
            raise error
        self._failures = min(self._failures + 1, 10)
        await self._clock.sleep(seconds)
