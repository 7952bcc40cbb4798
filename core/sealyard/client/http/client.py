"""The HTTP client: all operations of :class:`~sealyard.client.protocol.Client` on a server."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from sealyard.client.http.administration import AccessCalls, DeviceCalls, KeyCalls
from sealyard.client.http.audit import AuditCalls
from sealyard.client.http.credentials import CredentialCalls
from sealyard.client.http.notifications import NotificationCalls
from sealyard.client.http.requests import RecoverCallback, RequestSender
from sealyard.client.http.results import ResultCalls
from sealyard.client.http.status import ConnectionMonitor
from sealyard.client.http.tasks import TaskCalls
from sealyard.client.http.transport import Connection
from sealyard.client.http.webhooks import WebhookCalls
from sealyard.client.http.zone import ZoneCalls
from sealyard.model.clock import Clock, ClockConfirmation
from sealyard.model.events import Event
from sealyard.model.requests import WorkspaceInfo

RETRY_TIMEOUT = 60.0
"""Seconds after which a call is no longer retried."""


class HttpClient(
    TaskCalls,
    ResultCalls,
    DeviceCalls,
    KeyCalls,
    AccessCalls,
    AuditCalls,
    CredentialCalls,
    WebhookCalls,
    NotificationCalls,
    ZoneCalls,
):
    """Client of a server over HTTP. :class:`sealyard.client.protocol.Client` documents the methods."""

    def __init__(
        self,
        connection: Connection,
        clock: Clock,
        *,
        retry_timeout: float = RETRY_TIMEOUT,
        recover: RecoverCallback | None = None,
    ) -> None:
        """Take ownership of ``connection``, which :meth:`close` closes.

        ``retry_timeout`` is the number of seconds after which a call is no longer retried. For ``recover``, see
        :data:`sealyard.client.http.requests.RecoverCallback`.
        """
        self._connection = connection
        self.monitor = ConnectionMonitor(clock)
        super().__init__(RequestSender(connection, clock, self.monitor, retry_timeout=retry_timeout, recover=recover))

    async def workspace(self) -> WorkspaceInfo:
        return await self._sender.get("/workspace", WorkspaceInfo)

    async def confirm_clock(self, *, confirmed: bool = False) -> ClockConfirmation:
        body = {"confirmed": confirmed}
        return await self._sender.send("POST", "/workspace/clockConfirmation", body, ClockConfirmation)

    async def cursor(self) -> int:
        return await self._event_stream.cursor()

    def events(self, after: int | None = None) -> AsyncGenerator[Event, None]:
        return self._event_stream.events(after)

    async def close(self) -> None:
        await self._connection.close()
