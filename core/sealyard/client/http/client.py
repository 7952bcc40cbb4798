"""The client of a server: all of :class:`~sealyard.client.protocol.Client`, by HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from sealyard.client.connection import Connection
from sealyard.client.http.administration import AccessControl, Devices, Keys
from sealyard.client.http.auditing import Audit
from sealyard.client.http.calls import Calls, Recover
from sealyard.client.http.credentials import Credentials
from sealyard.client.http.results import Results
from sealyard.client.http.tasks import Tasks
from sealyard.client.http.webhooks import Webhooks
from sealyard.client.link import LinkWatch
from sealyard.model.clock import Clock
from sealyard.model.events import Event
from sealyard.model.requests import WorkspaceInfo

PATIENCE = 60.0
"""Seconds over which one call is tried."""


class HttpClient(Tasks, Results, Devices, Keys, AccessControl, Audit, Credentials, Webhooks):
    """See :class:`sealyard.client.protocol.Client`, which says what each method does."""

    def __init__(
        self, connection: Connection, clock: Clock, *, patience: float = PATIENCE, recover: Recover | None = None
    ) -> None:
        """``recover``: see :data:`sealyard.client.http.calls.Recover`. The client closes the connection."""
        self._connection = connection
        self.watch = LinkWatch(clock)
        super().__init__(Calls(connection, clock, self.watch, patience=patience, recover=recover))

    async def workspace(self) -> WorkspaceInfo:
        return await self._calls.get("/workspace", WorkspaceInfo)

    async def cursor(self) -> int:
        return await self._feed.cursor()

    def events(self, after: int | None = None) -> AsyncGenerator[Event, None]:
        return self._feed.events(after)

    async def close(self) -> None:
        await self._connection.close()
