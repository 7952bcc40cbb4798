"""Serves the engine of a server while it is the active one of a cluster."""

from __future__ import annotations

import asyncio
import logging

from litestar.types import ASGIApp

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import StorageError
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.cluster.metrics import ClusterMetrics
from sealyard.server.cluster.request_gate import RequestGate
from sealyard.server.local_socket import LocalSocketServer
from sealyard.server.settings import ServerSettings

GRACE_SECONDS = 0.3
"""Time for requests in progress to finish before the engine is closed."""

log = logging.getLogger(__name__)


class ClusterEngineService:
    """Lets clients, the other servers, and processes on this machine use the engine, and sends its messages."""

    def __init__(
        self,
        settings: ServerSettings,
        tenant: str,
        tenants: TenantRegistry,
        gate: RequestGate,
        routes: ASGIApp,
        metrics: ClusterMetrics,
    ) -> None:
        """``routes``: for the Unix socket of the workspace."""
        self._settings = settings
        self._tenant = tenant
        self._tenants = tenants
        self._gate = gate
        self._routes = routes
        self._metrics = metrics
        self._engine_handle: EngineHandle | None = None
        self._local_server: LocalSocketServer | None = None

    async def start(self, engine_handle: EngineHandle) -> None:
        """Start to serve the engine. Raises :class:`UsageError` if the group of the socket cannot be used."""
        self._engine_handle = engine_handle
        self._tenants.set_engine(self._tenant, engine_handle)
        self._local_server = LocalSocketServer(
            engine_handle,
            os_group=self._settings.socket_group,
            allow_private_webhooks=self._settings.allow_private_webhooks,
            app_for_tenant=(self._tenant, self._routes),
        )
        try:
            await self._local_server.start()
        except StorageError as error:
            log.warning("%s", error)
        engine_handle.on_fenced(lambda _: self._gate.close())
        self._gate.open(lambda: engine_handle.lease)
        self._metrics.count_takeover()

    async def stop(self) -> None:
        """Reject further requests, end those in progress, and stop to send messages."""
        self._gate.close()
        if self._engine_handle is not None:
            # Ends the streams of events; clients continue them at the next server.
            await self._engine_handle.drain(0)
        await asyncio.gather(self._gate.finish(GRACE_SECONDS), self._stop_local_server())
        self._tenants.set_engine(self._tenant, None)
        self._engine_handle = None

    async def _stop_local_server(self) -> None:
        if self._local_server is None:
            return
        stop_task = asyncio.create_task(self._local_server.stop())
        await asyncio.wait({stop_task}, timeout=GRACE_SECONDS)
        self._local_server.abort()
        await stop_task
        self._local_server = None
