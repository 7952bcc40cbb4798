"""The clock interface. Everything that depends on the time uses a clock, so that tests can set the time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """A source of the current time."""

    def now(self) -> datetime:
        """Return the current time in UTC.

        The time does not go backwards within a process, unless the system time is set back by more than an hour.
        """
        ...

    def monotonic(self) -> float:
        """Return the seconds since an arbitrary point in time, for durations.

        Setting the system time does not affect it. Time during which the machine is suspended counts.
        """
        ...

    async def sleep(self, seconds: float) -> None: ...
