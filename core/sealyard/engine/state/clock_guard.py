"""Decide whether the system clock can be trusted for changes that cannot be undone, for example removing a result."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.clock import Clock
from sealyard.model.errors import ClockError
from sealyard.model.formatting import format_count
from sealyard.model.hints import Hint, HintCode

MAX_LEAD = timedelta(hours=1)
"""How far the clock may be ahead of the expected time."""

CONFIRMATION_SECONDS = 3600.0
"""After this time, a clock that was ahead and has been running steadily since is trusted."""


class ClockReading(FrozenStruct, frozen=True, kw_only=True):
    """The system time and the monotonic time, read together, and the boot in which they were read."""

    time: Annotated[datetime, msgspec.Meta(tz=True)]
    monotonic: Annotated[float, msgspec.Meta(ge=0)]
    boot_id: str | None

    def lead_of(self, later: ClockReading) -> timedelta:
        """Return how much more system time than monotonic time passed until ``later``, a reading in the same boot."""
        return later.time - self.time - timedelta(seconds=later.monotonic - self.monotonic)

    def precedes(self, later: ClockReading) -> bool:
        """Return whether both readings are known to be of the same boot, in this order."""
        return self.boot_id is not None and self.boot_id == later.boot_id and self.monotonic <= later.monotonic


class ClockGuard:
    """Compares the system time with the last known time plus the monotonic time that has passed since.

    A clock that is more than :data:`MAX_LEAD` ahead is not trusted until :data:`CONFIRMATION_SECONDS` have passed or
    :meth:`accept` is called.
    """

    def __init__(self, clock: Clock, last_known_time: datetime | None, stored_reading: ClockReading | None) -> None:
        """``stored_reading``: the reading that an earlier process accepted last, None if there is none.

        It is used if it was read since the machine was booted, because the elapsed time is known then. Otherwise, the
        expected time is ``last_known_time``, the time of the newest stored record, None if there is none. A long
        downtime can then not be distinguished from a clock that was set wrongly.
        """
        self._clock = clock
        reading = self.read()
        self._trusted = msgspec.structs.replace(reading, time=last_known_time or reading.time)
        self._knows_elapsed_time = False
        if stored_reading is not None and stored_reading.precedes(reading):
            self._trusted, self._knows_elapsed_time = stored_reading, True
        self.accepted_reading: ClockReading | None = None
        """The last reading that this guard accepted, None if there is none yet."""
        self._suspected: ClockReading | None = None
        self._holds_changes = False
        self.has_jumped = False
        """Whether the clock is not trusted because it jumped, and not only because of a long downtime."""

    def read(self) -> ClockReading:
        """Return the current reading of the clock."""
        return ClockReading(time=self._clock.now(), monotonic=self._clock.monotonic(), boot_id=self._clock.boot_id())

    def is_trusted(self) -> bool:
        """Return whether the clock can be trusted now."""
        return self.seconds_until_trusted() == 0.0

    def seconds_until_trusted(self) -> float:
        """Return after how many seconds the clock will be trusted if it runs steadily; 0 if it is trusted now."""
        reading = self.read()
        knew_elapsed_time, self._knows_elapsed_time = self._knows_elapsed_time, True
        if self._trusted.lead_of(reading) <= MAX_LEAD:
            self.accept(reading)
            return 0.0
        if self._suspected is None or abs(self._suspected.lead_of(reading)) > MAX_LEAD:
            self._suspected = reading
            self.has_jumped = knew_elapsed_time
        remaining = CONFIRMATION_SECONDS - (reading.monotonic - self._suspected.monotonic)
        if remaining <= 0:
            self.accept(reading)
            return 0.0
        return remaining

    def lead_of(self, reading: ClockReading) -> timedelta:
        """Return how far ``reading`` is ahead of the expected time."""
        return self._trusted.lead_of(reading)

    def accept(self, reading: ClockReading) -> None:
        """Trust the clock, and compare later readings with ``reading``."""
        self._trusted = self.accepted_reading = reading
        self._suspected = None
        self.has_jumped = self._holds_changes = False

    def hold(self) -> bool:
        """Note that a change waits until the clock is trusted, and return whether it is the first one."""
        is_first, self._holds_changes = not self._holds_changes, True
        return is_first

    def warning(self) -> ClockError | None:
        """Return the warning for users if the clock is not trusted, unless only the downtime was long."""
        if self.is_trusted() or not (self.has_jumped or self._holds_changes):
            return None
        return self.build_error()

    def build_error(self) -> ClockError:
        """Return the error that describes why changes wait. Call it only while the clock is not trusted."""
        minutes = max(1, round(self.seconds_until_trusted() / 60))
        return ClockError(
            f"The system clock is {format_lead(self.lead_of(self.read()))} ahead of the expected time. For an hour,"
            " expired results are kept and expired tasks wait.",
            Hint.of(HintCode.CONFIRM_CLOCK, remaining_time=format_count(minutes, "minute")),
        )


def format_lead(lead: timedelta) -> str:
    """Format the lead of a clock that is not trusted, in hours or days."""
    if lead >= timedelta(days=2):
        return format_count(round(lead / timedelta(days=1)), "day")
    return format_count(round(lead.total_seconds() / 3600), "hour")
