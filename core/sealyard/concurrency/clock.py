"""The system clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

MAX_LEAD = timedelta(hours=1)
"""How far :meth:`SystemClock.now` may be ahead of the system time after the system time was set back."""

# CLOCK_BOOTTIME exists on Linux only; unlike CLOCK_MONOTONIC there, it counts the time of a suspended machine.
_MONOTONIC_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """The :class:`sealyard.model.clock.Clock` of the operating system.

    If the system time is set back by at most :data:`MAX_LEAD`, :meth:`now` returns the last value until the system time
    has caught up. If it is set back further, the earlier time was wrong, and :meth:`now` follows.
    """

    def __init__(self) -> None:
        self._last_time = datetime.now(UTC)

    def now(self) -> datetime:
        system_time = datetime.now(UTC)
        if not timedelta() < self._last_time - system_time <= MAX_LEAD:
            self._last_time = system_time
        return self._last_time

    def monotonic(self) -> float:
        return time.clock_gettime(_MONOTONIC_CLOCK)

    def boot_id(self) -> str | None:
        return _read_boot_id()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@cache
def _read_boot_id() -> str | None:
    """Return the boot id of the Linux kernel, None on other systems or if it cannot be read."""
    try:
        return _BOOT_ID_FILE.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
