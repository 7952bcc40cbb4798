"""The client of a server: all of :class:`~sealyard.client.protocol.Client`, by HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from sealyard.client.http.administration import AccessCalls, DeviceCalls, KeyCalls
from sealyard.client.http.audit import AuditCalls
from sealyard.client.http.credentials import CredentialCalls
from sealyard.client.http.requests import RecoverCallback, RequestSender
from sealyard.client.http.results import ResultCalls
from sealyard.client.http.status import ConnectionMonitor
from sealyard.client.http.tasks import TaskCalls
from sealyard.client.http.transport import Connection
from sealyard.client.http.webhooks import WebhookCalls
from sealyard.model.clock import Clock
from sealyard.model.events import Event
from sealyard.model.requests import WorkspaceInfo

RETRY_TIMEOUT = 60.0
"""Seconds over which one call is tried."""


class HttpClient(TaskCalls, ResultCalls, DeviceCalls, KeyCalls, AccessCalls, AuditCalls, CredentialCalls, WebhookCalls):
    """See :class:`sealyard.client.protocol.Client`, which says what each method does."""

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        *,
        patience: float = RETRY_TIMEOUT,
        recover: RecoverCallback | None = None,
    ) -> None:
        """``recover``: see :data:`sealyard.client.http.requests.RecoverCallback`. The client closes the connection."""
        self._connection = connection
        self.watch = ConnectionMonitor(clock)
        super().__init__(RequestSender(connection, clock, self.watch, patience=patience, recover=recover))

    async def workspace(self) -> WorkspaceInfo:
        return await self._calls.get("/workspace", WorkspaceInfo)

    async def cursor(self) -> int:
        return await self._feed.cursor()

    def events(self, after: int | None = None) -> AsyncGenerator[Event, None]:
        return self._feed.events(after)

    async def close(self) -> None:
        await self._connection.close()
