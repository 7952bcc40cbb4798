"""A running server: its listeners and sockets, certificate reload, and graceful shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from litestar.types import ASGIApp

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import StorageError
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.frontend import Frontend
from sealyard.server.local_socket import LocalSocketServer
from sealyard.server.settings import ServerSettings

log = logging.getLogger(__name__)


class Server:
    """A server for the engines of all tenants. :meth:`open` creates and starts it; :meth:`stop` stops it."""

    def __init__(self, settings: ServerSettings, engines: Mapping[str, EngineHandle]) -> None:
        self._settings = settings
        self._engines = engines
        self.tenants = TenantRegistry(engines)
        self._frontend: Frontend | None = None
        self._serve_tasks: list[asyncio.Task[None]] = []
        self._local_servers: list[LocalSocketServer] = []

    @classmethod
    async def open(cls, settings: ServerSettings, engines: Mapping[str, EngineHandle]) -> Server:
        """Create a server and start serving ``engines``, a mapping from tenant name to engine handle.

        The server takes ownership of the handles and closes them, even if it fails to start. Raises
        :class:`UsageError` if a setting is invalid, if the address cannot be used, or if it requires TLS and none is
        configured, and :class:`StorageError` if the certificate or its key cannot be read.
        """
        server = cls(settings, engines)
        try:
            await server._listen()
        except BaseException:
            await server._close()
            raise
        log.info("server started on %s", server.address)
        return server

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Wait until ``stop`` is set. If a listener fails before that, raises its exception."""
        stop_wait = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stop_wait, *self._serve_tasks}, return_when=asyncio.FIRST_COMPLETED)
        stop_wait.cancel()
        for task in done:
            await task

    @property
    def address(self) -> str:
        return self._frontend.address if self._frontend is not None else ""

    def reload_certificate(self) -> None:
        """Reload the certificate for new connections. If it is invalid, logs an error and keeps the old certificate."""
        if self._frontend is not None:
            self._frontend.reload_certificate()

    async def stop(self, force: asyncio.Event | None = None) -> None:
        """Stop the server.

        Waits for running tasks up to the shutdown timeout, while still answering requests. Then it interrupts the
        remaining tasks (they resume at the next start), ends event streams, and aborts open responses. Once ``force``
        is set, the server stops without waiting.
        """
        force_wait = asyncio.create_task((force or asyncio.Event()).wait())
        drain_task = asyncio.create_task(self._drain(self._settings.shutdown_timeout_seconds))
        await asyncio.wait({drain_task, force_wait}, return_when=asyncio.FIRST_COMPLETED)
        drain_task.cancel()
        await asyncio.wait({drain_task})
        if interrupted_count := await self._drain(0):
            log.warning("interrupted running tasks: %d; they resume at the next start", interrupted_count)
        close_task = asyncio.create_task(self._close())
        await asyncio.wait({close_task, force_wait}, return_when=asyncio.FIRST_COMPLETED)
        force_wait.cancel()
        self._abort()
        await close_task
        log.info("server stopped")

    async def _drain(self, seconds: float) -> int:
        """Stop starting tasks, wait up to ``seconds`` for running ones, and return how many are still running."""
        return sum(
            await asyncio.gather(*(engine_handle.drain_workers(seconds) for engine_handle in self._engines.values()))
        )

    def _abort(self) -> None:
        for listener in (self._frontend, *self._local_servers):
            if listener is not None:
                listener.abort()

    async def _close(self) -> None:
        for engine_handle in self._engines.values():
            await engine_handle.drain(0)
        listeners = (self._frontend, *self._local_servers)
        await asyncio.gather(*(listener.stop() for listener in listeners if listener is not None))
        await asyncio.gather(*(engine_handle.close() for engine_handle in self._engines.values()))

    async def _listen(self) -> None:
        self._frontend = Frontend(self._settings, self.tenants)
        app = self._frontend.with_request_log(self._frontend.routes)
        self._serve_tasks.append(self._frontend.listen(app))
        for tenant, engine_handle in self._engines.items():
            await self._start_local_socket(tenant, engine_handle, app)

    async def _start_local_socket(self, tenant: str, engine_handle: EngineHandle, app: ASGIApp) -> None:
        """Start the server for the Unix socket of a workspace.

        If the socket cannot be created, logs a warning: the server is still available over the network.
        """
        settings = self._settings
        local_server = LocalSocketServer(
            engine_handle,
            os_group=settings.socket_group,
            allow_private_webhooks=settings.allow_private_webhooks,
            app_for_tenant=(tenant, app),
        )
        self._local_servers.append(local_server)
        try:
            await local_server.start()
        except StorageError as error:
            log.warning("%s", error)
