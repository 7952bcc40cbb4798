"""What all kinds of servers have in common: the routes, and the listener on a network address."""

from __future__ import annotations

import asyncio
import logging

from litestar.types import ASGIApp, ExceptionHandlersMap

from sealyard.model.errors import SealyardError
from sealyard.server.app import build_app
from sealyard.server.auth.authentication import Authenticator
from sealyard.server.auth.issuers import IssuerRegistry
from sealyard.server.auth.rate_limit import TokenBucketLimiter
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.http.listeners import (
    UvicornListener,
    bind,
    network_listener,
    parse_address,
    require_tls_or_loopback,
)
from sealyard.server.http.request_log import Observer, RequestLogMiddleware
from sealyard.server.http.tls import TlsCertificate
from sealyard.server.observability.health import StandbyStatus
from sealyard.server.observability.logging import log_request
from sealyard.server.observability.metrics import Metrics, metrics_handler
from sealyard.server.settings import ServerSettings

log = logging.getLogger(__name__)


class Frontend:
    """The routes of a server, and its listener for clients."""

    def __init__(
        self,
        settings: ServerSettings,
        tenants: TenantRegistry,
        *,
        standby_status: StandbyStatus | None = None,
        exception_handlers: ExceptionHandlersMap | None = None,
        request_logger: Observer = log_request,
    ) -> None:
        """Create the routes. For ``standby_status`` and ``exception_handlers`` see :func:`build_app`.

        ``request_logger``: logs finished requests.

        Raises :class:`UsageError` if the settings of an issuer are invalid.
        """
        self._settings = settings
        self._log_request = request_logger
        self._certificate: TlsCertificate | None = None
        self._listener: UvicornListener | None = None
        self._serve_task: asyncio.Task[None] | None = None
        self.address = ""
        self.metrics = Metrics()
        issuers = IssuerRegistry(settings.issuers, tenants.names)
        authenticator = Authenticator(
            tenants,
            TokenBucketLimiter(settings.requests_per_minute),
            issuers.verify if settings.issuers else None,
            settings.max_upload_bytes,
        )
        scrape = metrics_handler(self.metrics, tenants, public=settings.public_metrics)
        self.routes: ASGIApp = build_app(
            tenants,
            authenticator,
            issuers,
            public_url=settings.public_url,
            s3=settings.s3,
            extra_handlers=[scrape],
            standby_status=standby_status,
            exception_handlers=exception_handlers,
        )

    def with_request_log(self, app: ASGIApp) -> ASGIApp:
        """Return ``app`` with middleware that logs its requests and adds them to the metrics."""
        return RequestLogMiddleware(app, self.metrics.observe, self._log_request)

    def listen(self, app: ASGIApp) -> asyncio.Task[None]:
        """Start to serve ``app`` at the address for clients. Returns the task that serves it until :meth:`stop`.

        Raises :class:`UsageError` if a setting is invalid, if the address cannot be used, or if it requires TLS and
        none is configured, and :class:`StorageError` if the certificate or its key cannot be read.
        """
        settings = self._settings
        host, port = parse_address(settings.listen)
        require_tls_or_loopback(host, tls=settings.tls, behind_proxy=settings.behind_proxy)
        if settings.tls_certificate or settings.tls_key:
            self._certificate = TlsCertificate(settings.tls_certificate, settings.tls_key)
        proxies = settings.trusted_proxies if settings.behind_proxy else ""
        self._listener = network_listener(app, certificate=self._certificate, proxies=proxies)
        sock = bind(host, port)
        self._serve_task = asyncio.create_task(self._listener.serve([sock]))
        port = sock.getsockname()[1]
        url_host = f"[{host}]" if ":" in host else host
        self.address = f"{'https' if settings.tls else 'http'}://{url_host}:{port}"
        return self._serve_task

    def reload_certificate(self) -> None:
        """Reload the certificate for new connections. If it is invalid, logs an error and keeps the old certificate."""
        if self._certificate is None:
            log.info("no certificate to reload")
            return
        try:
            self._certificate.reload()
        except SealyardError as error:
            log.error("certificate not reloaded, the previous one stays in use: %s", error)
            return
        log.info("certificate reloaded")

    async def stop(self) -> None:
        """Stop listening, and wait for open responses for a while."""
        if self._listener is None or self._serve_task is None:
            return
        self._listener.stop()
        await asyncio.gather(self._serve_task, return_exceptions=True)

    def abort(self) -> None:
        """Make :meth:`stop` return without waiting for open responses, even if it is already waiting."""
        if self._listener is not None:
            self._listener.abort()
