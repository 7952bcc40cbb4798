"""A server from beginning to end: engines opened, addresses listened on, and a stop that loses nothing."""

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
    """Open it with :meth:`open`; it serves until :meth:`stop`."""

    def __init__(self, settings: ServerSettings, engines: Mapping[str, EngineHandle]) -> None:
        self._settings = settings
        self._engines = engines
        self.tenants = TenantRegistry(engines)
        self.address = ""
        self._certificate: TlsCertificate | None = None
        self._listener: UvicornListener | None = None
        self._local: list[LocalSocketServer] = []
        self._serving: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, settings: ServerSettings, engines: Mapping[str, EngineHandle]) -> Server:
        """``engines``: by tenant; from now on the service closes them.

        Raises :class:`UsageError` for an address that cannot be listened on, or not so, and for certificates.
        """
        service = cls(settings, engines)
        try:
            host, port = parse_address(settings.listen)
            require_tls_or_loopback(host, tls=settings.tls, behind_proxy=settings.behind_proxy)
            await service._listen(host, port)
        except BaseException:
            await service._close()
            raise
        return service

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Returns when ``stop`` is set. Raises what ends the listening before."""
        stopping = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({stopping, *self._serving}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        for each in done:
            await each

    def reload_certificate(self) -> None:
        """Reads it again, for whoever connects from now on; where it cannot be used, the one before stays."""
        if self._certificate is None:
            log.info("there is no certificate to be read again")
            return
        try:
            self._certificate.reload()
        except SealyardError as error:
            log.error("the certificate stays the one before: %s", error)
            return
        log.info("the certificate was read again")

    async def stop(self, force: asyncio.Event | None = None) -> None:
        """Running work may finish for a while, and calls are answered meanwhile; what is left then is handed back to
        the next start, events end, and calls are cut. ``force``: without waiting, from the moment it is set.
        """
        hurrying = asyncio.create_task((force or asyncio.Event()).wait())
        finishing = asyncio.create_task(self._drain(self._settings.shutdown_timeout_seconds))
        await asyncio.wait({finishing, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        finishing.cancel()
        await asyncio.wait({finishing})
        if left := await self._drain(0):
            log.warning("%d running tasks are handed back: they go on at the next start", left)
        closing = asyncio.create_task(self._close())
        await asyncio.wait({closing, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        hurrying.cancel()
        self._abort()
        await closing

    async def _drain(self, seconds: float) -> int:
        """How many tasks were still running then."""
        return sum(await asyncio.gather(*(each.drain_workers(seconds) for each in self._engines.values())))

    def _abort(self) -> None:
        for each in (self._listener, *self._local):
            if each is not None:
                each.abort()

    async def _close(self) -> None:
        for each in self._engines.values():
            await each.drain(0)
        if self._listener is not None:
            self._listener.stop()
        await asyncio.gather(*self._serving, *(each.stop() for each in self._local), return_exceptions=True)
        await asyncio.gather(*(each.close() for each in self._engines.values()))

    async def _listen(self, host: str, port: int) -> None:
        settings = self._settings
        verify = OidcVerifier(settings.oidc).verify if settings.oidc.issuer else None
        limits = TokenBucketLimiter(settings.requests_per_minute)
        identity = Authenticator(self.tenants, limits, verify, settings.max_upload_bytes)
        metrics = Metrics()
        scrape = metrics_handler(metrics, self.tenants, public=settings.public_metrics)
        app = build_app(self.tenants, identity, public_url=settings.public_url, extra_handlers=[scrape])
        observed = RequestLogMiddleware(app, metrics.observe, log_request)
        if settings.tls_certificate or settings.tls_key:
            self._certificate = TlsCertificate(settings.tls_certificate, settings.tls_key)
        proxies = settings.trusted_proxies if settings.behind_proxy else ""
        self._listener = network_listener(observed, certificate=self._certificate, proxies=proxies)
        sock = bind(host, port)
        self._serving.append(asyncio.create_task(self._listener.serve([sock])))
        port = sock.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{'https' if settings.tls else 'http'}://{shown}:{port}"
        for name, each in self._engines.items():
            await self._start_local_socket(name, each, observed)

    async def _start_local_socket(self, tenant: str, engine: EngineHandle, app: ASGIApp) -> None:
        """Others of this machine, to its own socket; where there can be none, the network is enough."""
        settings = self._settings
        local = LocalSocketServer(
            engine,
            group=settings.socket_group,
            allow_private_webhooks=settings.allow_private_webhooks,
            app_for_tenant=(tenant, app),
        )
        self._local.append(local)
        try:
            await local.start()
        except StorageError as error:
            log.warning("%s", error)
