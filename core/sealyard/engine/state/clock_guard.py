"""Decide whether the system clock can be trusted for changes that cannot be undone, for example removing a result."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sealyard.model.clock import Clock
from sealyard.model.errors import ClockError

MAX_LEAD = timedelta(hours=1)
"""How far the clock may be ahead of the expected time."""

CONFIRMATION_SECONDS = 3600.0
"""After this time, a clock that was ahead and has been running steadily since is trusted."""


class _Reading(NamedTuple):
    """The system time and the monotonic time, read together."""

    time: datetime
    monotonic: float

    def lead_of(self, later: _Reading) -> timedelta:
        """Return how much more system time than monotonic time passed until ``later``."""
        return later.time - self.time - timedelta(seconds=later.monotonic - self.monotonic)


class ClockGuard:
    """Compares the system time with the last known time plus the monotonic time that has passed since.

    ``last_known_time``: the time of the newest stored record, None if there is none. A clock that is more than
    :data:`MAX_LEAD` ahead is not trusted until :data:`CONFIRMATION_SECONDS` have passed. This is also the case after a
    long downtime, which cannot be distinguished from a clock that was set wrongly.
    """

    def __init__(self, clock: Clock, last_known_time: datetime | None) -> None:
        self._clock = clock
        reading = self._read()
        self._trusted = _Reading(last_known_time or reading.time, reading.monotonic)
        self._suspected: _Reading | None = None
        self._has_read = False
        self._holds_changes = False
        self.has_jumped = False
        """Whether the clock jumped while the engine was running, and is not trusted since."""

    def is_trusted(self) -> bool:
        """Return whether the clock can be trusted now."""
        return self.seconds_until_trusted() == 0.0

    def seconds_until_trusted(self) -> float:
        """Return after how many seconds the clock will be trusted if it runs steadily; 0 if it is trusted now."""
        reading = self._read()
        is_first, self._has_read = not self._has_read, True
        if self._trusted.lead_of(reading) <= MAX_LEAD:
            self._accept(reading)
            return 0.0
        if self._suspected is None or abs(self._suspected.lead_of(reading)) > MAX_LEAD:
            self._suspected = reading
            self.has_jumped = not is_first
        remaining = CONFIRMATION_SECONDS - (reading.monotonic - self._suspected.monotonic)
        if remaining <= 0:
            self._accept(reading)
            return 0.0
        return remaining

    def hold(self) -> ClockError:
        """Note that a change waits until the clock is trusted, and return the error that says so."""
        self._holds_changes = True
        return self.build_error()

    def warnings(self) -> tuple[str, ...]:
        """Return the warning for users if the clock is not trusted, unless only the downtime was long."""
        if self.is_trusted() or not (self.has_jumped or self._holds_changes):
            return ()
        return (str(self.build_error()),)

    def build_error(self) -> ClockError:
        """Return the error that describes why changes wait. Call it only while the clock is not trusted."""
        lead = self._trusted.lead_of(self._read())
        minutes = max(1, round(self.seconds_until_trusted() / 60))
        return ClockError(
            f"The system clock is {_format_lead(lead)} ahead of the last recorded time. For an hour,"
            " expired results are kept and expired tasks wait.",
            f"If the clock is right, wait {minutes} minutes; otherwise, correct it.",
        )

    def _accept(self, reading: _Reading) -> None:
        self._trusted, self._suspected = reading, None
        self.has_jumped = self._holds_changes = False

    def _read(self) -> _Reading:
        return _Reading(self._clock.now(), self._clock.monotonic())


def _format_lead(lead: timedelta) -> str:
    return f"{lead.days} days" if lead >= timedelta(days=2) else f"{lead.total_seconds() / 3600:.0f} hours"
