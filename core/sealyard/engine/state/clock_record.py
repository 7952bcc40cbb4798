"""Keep the last accepted reading of the clock in a file, for engines that are started later in the same boot."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec

from sealyard.audit.store import AuditStore
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.state.clock_guard import ClockGuard, ClockReading
from sealyard.fs.atomic import write_atomic
from sealyard.model.base import JSON_ERRORS
from sealyard.model.clock import Clock

SAVE_INTERVAL = 6 * 3600.0
"""Seconds after which the file is updated even if the clock has been running steadily."""

MAX_DRIFT = timedelta(minutes=1)
"""The file is updated at once if the clock has been adjusted by more than this."""

log = logging.getLogger(__name__)


class ClockRecord:
    """The file with the last accepted reading. It is optional: a failure to read or write it has no other effect."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stored_reading: ClockReading | None = None

    def load(self) -> ClockReading | None:
        """Return the reading in the file, None if the file is missing, unreadable or damaged."""
        try:
            self._stored_reading = msgspec.json.decode(self._path.read_bytes(), type=ClockReading)
        except (OSError, ValueError, *JSON_ERRORS):
            self._stored_reading = None
        return self._stored_reading

    async def save(self, reading: ClockReading | None) -> None:
        """Store an accepted reading, unless it adds nothing to the stored one or its boot is unknown."""
        if reading is None or reading.boot_id is None or not self._adds_information(reading):
            return
        try:
            await run_uncancellable(partial(write_atomic, self._path, msgspec.json.encode(reading)))
        except OSError as error:
            log.warning("could not save the last accepted time of the clock: %s", error)
        else:
            self._stored_reading = reading

    def _adds_information(self, reading: ClockReading) -> bool:
        stored_reading = self._stored_reading
        if stored_reading is None or not stored_reading.precedes(reading):
            return True
        is_old = reading.monotonic - stored_reading.monotonic >= SAVE_INTERVAL
        return is_old or abs(stored_reading.lead_of(reading)) > MAX_DRIFT


def open_clock_guard(clock: Clock, audit: AuditStore | None, record: ClockRecord) -> ClockGuard:
    """Return a guard that continues from the stored reading, or from the newest entry in the audit log.

    ``audit`` is None if the engine only reads; the guard then trusts the clock.
    """
    if audit is None:
        return ClockGuard(clock, None, None)
    newest_entry = next(iter(audit.entries(limit=1)), None)
    return ClockGuard(clock, newest_entry.timestamp if newest_entry is not None else None, record.load())
