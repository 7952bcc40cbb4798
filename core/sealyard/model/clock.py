"""The clock interface. Everything that depends on the time uses a clock, so that tests can set the time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """A source of the current time."""

    def now(self) -> datetime:
        """Return the current time in UTC. The time never goes backwards within a process."""
        ...

    async def sleep(self, seconds: float) -> None: ...
