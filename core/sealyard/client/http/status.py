"""Connection status of a client, for front ends that display it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.clock import Clock


class ConnectionStatus(FrozenStruct, frozen=True, kw_only=True):
    """Whether the server responds.

    ``last_answer_at``: time of the last response or stream data. ``reconnecting_since``: time of the first failure
    after that; None if there has been no failure since.
    """

    last_answer_at: datetime | None = None
    reconnecting_since: datetime | None = None

    @property
    def is_connected(self) -> bool:
        """True if the last request succeeded; False before the first response."""
        return self.last_answer_at is not None and self.reconnecting_since is None


class ConnectionMonitor:
    """Keeps the :class:`ConnectionStatus` up to date, in ``status``.

    Calls ``on_change``, if it is set, when the connection is lost and when it is restored.
    """

    def __init__(self, clock: Clock) -> None:
        self.status = ConnectionStatus()
        self.on_change: Callable[[ConnectionStatus], None] | None = None
        self._clock = clock

    def mark_alive(self) -> None:
        """Record that data from the server was received."""
        self._set(ConnectionStatus(last_answer_at=self._clock.now()))

    def mark_failed(self) -> None:
        """Record that a request failed."""
        since = self.status.reconnecting_since or self._clock.now()
        self._set(msgspec.structs.replace(self.status, reconnecting_since=since))

    def _set(self, status: ConnectionStatus) -> None:
        previous_status, self.status = self.status, status
        old_state = (previous_status.is_connected, previous_status.reconnecting_since)
        new_state = (status.is_connected, status.reconnecting_since)
        if old_state != new_state and self.on_change is not None:
            self.on_change(status)
