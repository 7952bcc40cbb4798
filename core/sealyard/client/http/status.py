"""Whether the server answers, for a front end that shows it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.clock import Clock


class ConnectionStatus(FrozenStruct, frozen=True, kw_only=True):
    """``reconnecting_since``: when the first of the latest failures was, None while all is well."""

    last_answer_at: datetime | None = None
    reconnecting_since: datetime | None = None

    @property
    def connected(self) -> bool:
        """False before the first answer too."""
        return self.last_answer_at is not None and self.reconnecting_since is None


class ConnectionMonitor:
    """Keeps the :class:`ConnectionStatus` up to date. ``on_change`` is told when it is lost and when it is there
    again.
    """

    def __init__(self, clock: Clock) -> None:
        self.link = ConnectionStatus()
        self.on_change: Callable[[ConnectionStatus], None] = _unheard
        self._clock = clock

    def mark_alive(self) -> None:
        """The server was just heard of."""
        self._set(ConnectionStatus(last_answer_at=self._clock.now()))

    def mark_failed(self) -> None:
        """A try just failed."""
        since = self.link.reconnecting_since or self._clock.now()
        self._set(msgspec.structs.replace(self.link, reconnecting_since=since))

    def _set(self, link: ConnectionStatus) -> None:
        before, self.link = self.link, link
        if (before.connected, before.reconnecting_since) != (link.connected, link.reconnecting_since):
            self.on_change(link)


def _unheard(_: ConnectionStatus) -> None:
    return None
