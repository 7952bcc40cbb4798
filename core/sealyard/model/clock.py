"""The clock interface, and the confirmation of the system clock.

Everything that depends on the time uses a clock, so that tests can set the time.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from sealyard.model.base import FrozenStruct


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

    def boot_id(self) -> str | None:
        """Return an identifier of the current boot of the machine, None if it is unknown.

        The values of :meth:`monotonic` in all processes with the same identifier count from the same point in time.
        """
        ...

    async def sleep(self, seconds: float) -> None: ...


class ClockConfirmation(FrozenStruct, frozen=True, kw_only=True):
    """The result of confirming the system clock of the engine.

    ``time``: the system time that was confirmed. ``already_trusted``: the clock was trusted before, so that nothing was
    changed.
    """

    time: datetime
    already_trusted: bool
