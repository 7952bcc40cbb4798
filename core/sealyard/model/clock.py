"""The seam of time: all that has a period asks a clock, so that tests can be at any moment."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The time in UTC, never going backwards within a process."""
        ...

    async def sleep(self, seconds: float) -> None: ...
