"""A running server: its listeners and sockets, certificate reload, and graceful shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from litestar.types import ASGIApp

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import SealyardError, StorageError
from sealyard.server.app import build_app
from sealyard.server.auth.authentication import Authenticator
from sealyard.server.auth.oidc import OidcVerifier
from sealyard.server.auth.rate_limit import TokenBucketLimiter
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.http.listeners import (
    UvicornListener,
    bind,
    network_listener,
    parse_address,
    require_tls_or_loopback,
)
from sealyard.server.http.request_log import RequestLogMiddleware
from sealyard.server.http.tls import TlsCertificate
from sealyard.server.local_socket import LocalSocketServer
from sealyard.server.observability.logging import log_request
from sealyard.server.observability.metrics import Metrics, metrics_handler
from sealyard.server.settings import ServerSettings

log = logging.getLogger(__name__)


class Server:
    """Serves the engines of all tenants. Create it with :meth:`open`; it serves until :meth:`stop`."""

    def __init__(self, settings: ServerSettings, engines: Mapping[str, EngineHandle]) -> None:
        self._settings = settings
        self._engines = engines
        self.tenants = TenantRegistry(engines)
        self.address = ""
        self._certificate: TlsCertificate | None = None
        self._listener: UvicornListener | None = None
        self._local_servers: list[LocalSocketServer] = []
        self._serving: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, settings: ServerSettings, engines: Mapping[str, EngineHandle]) -> Server:
        """Start to serve ``engines``, by tenant. The server closes them, even if it cannot be started.

        Raises :class:`UsageError` if the address cannot be used, or not without TLS, and for an invalid certificate.
        """
        server = cls(settings, engines)
        try:
            host, port = parse_address(settings.listen)
            require_tls_or_loopback(host, tls=settings.tls, behind_proxy=settings.behind_proxy)
            await server._listen(host, port)
        except BaseException:
            await server._close()
            raise
        return server

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Return when ``stop`` is set. Raises the exception of a listener that fails before that."""
        stop_wait = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stop_wait, *self._serving}, return_when=asyncio.FIRST_COMPLETED)
        stop_wait.cancel()
        for task in done:
            await task

    def reload_certificate(self) -> None:
        """Reload the certificate for new connections. An invalid one is logged, and the old one stays in use."""
        if self._certificate is None:
            log.info("no certificate to reload")
            return
        try:
            self._certificate.reload()
        except SealyardError as error:
            log.error("certificate not reloaded, the previous one stays in use: %s", error)
            return
        log.info("certificate reloaded")

    async def stop(self, force: asyncio.Event | None = None) -> None:
        """Stop the server.

        Running tasks can finish until the shutdown timeout, and requests are answered meanwhile. Tasks that still run
        then resume at the next start, event streams end, and open responses are aborted. Once ``force`` is set, the
        server stops without waiting.
        """
        force_wait = asyncio.create_task((force or asyncio.Event()).wait())
        draining = asyncio.create_task(self._drain(self._settings.shutdown_timeout_seconds))
        await asyncio.wait({draining, force_wait}, return_when=asyncio.FIRST_COMPLETED)
        draining.cancel()
        await asyncio.wait({draining})
        if remaining := await self._drain(0):
            log.warning("interrupted running tasks: %d; they resume at the next start", remaining)
        closing = asyncio.create_task(self._close())
        await asyncio.wait({closing, force_wait}, return_when=asyncio.FIRST_COMPLETED)
        force_wait.cancel()
        self._abort()
        await closing

    async def _drain(self, seconds: float) -> int:
        """Wait up to ``seconds`` for running tasks. Returns the number of tasks that still run."""
        return sum(await asyncio.gather(*(handle.drain_workers(seconds) for handle in self._engines.values())))

    def _abort(self) -> None:
        for listener in (self._listener, *self._local_servers):
            if listener is not None:
                listener.abort()

    async def _close(self) -> None:
        for handle in self._engines.values():
            await handle.drain(0)
        if self._listener is not None:
            self._listener.stop()
        await asyncio.gather(
            *self._serving, *(local_server.stop() for local_server in self._local_servers), return_exceptions=True
        )
        await asyncio.gather(*(handle.close() for handle in self._engines.values()))

    async def _listen(self, host: str, port: int) -> None:
        settings = self._settings
        verify = OidcVerifier(settings.oidc).verify if settings.oidc.issuer else None
        limiter = TokenBucketLimiter(settings.requests_per_minute)
        authenticator = Authenticator(self.tenants, limiter, verify, settings.max_upload_bytes)
        metrics = Metrics()
        scrape = metrics_handler(metrics, self.tenants, public=settings.public_metrics)
        routes = build_app(self.tenants, authenticator, public_url=settings.public_url, extra_handlers=[scrape])
        app = RequestLogMiddleware(routes, metrics.observe, log_request)
        if settings.tls_certificate or settings.tls_key:
            self._certificate = TlsCertificate(settings.tls_certificate, settings.tls_key)
        proxies = settings.trusted_proxies if settings.behind_proxy else ""
        self._listener = network_listener(app, certificate=self._certificate, proxies=proxies)
        sock = bind(host, port)
        self._serving.append(asyncio.create_task(self._listener.serve([sock])))
        port = sock.getsockname()[1]
        url_host = f"[{host}]" if ":" in host else host
        self.address = f"{'https' if settings.tls else 'http'}://{url_host}:{port}"
        for name, client in self._engines.items():
            await self._start_local_socket(name, client, app)

    async def _start_local_socket(self, tenant: str, engine: EngineHandle, app: ASGIApp) -> None:
        """Serve the workspace's socket. A failure is only logged, as the server is available over the network."""
        settings = self._settings
        local_server = LocalSocketServer(
            engine,
            group=settings.socket_group,
            allow_private_webhooks=settings.allow_private_webhooks,
            app_for_tenant=(tenant, app),
        )
        self._local_servers.append(local_server)
        try:
            await local_server.start()
        except StorageError as error:
            log.warning("%s", error)
