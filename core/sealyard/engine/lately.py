"""What was told lately and need not be told again, so that nobody fills a log by asking over and over."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime, timedelta

from sealyard.model.clock import Clock

REPEAT_AFTER = timedelta(hours=1)

MAX_ENTRIES = 10_000
"""Remembered at the same time. What was told longest ago is forgotten first."""


class TTLCache:
    """Kept in memory only: after a restart all is told once more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: dict[Hashable, datetime] = {}

    def __contains__(self, what: Hashable) -> bool:
        """Whether it was told within the last hour."""
        told = self._told.get(what)
        return told is not None and self._clock.now() - told < REPEAT_AFTER

    def __setitem__(self, what: Hashable) -> None:
        """It is told now."""
        self._told.pop(what, None)
        self._told[what] = self._clock.now()
        if len(self._told) > MAX_ENTRIES:
            del self._told[next(iter(self._told))]
