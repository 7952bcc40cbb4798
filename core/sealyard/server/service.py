"""A server from beginning to end: engines opened, addresses listened on, and a stop that loses nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from sealyard.client.embedded import EmbeddedClient
from sealyard.server.app import build_app
from sealyard.server.exchanges import Observed
from sealyard.server.identity import Identity
from sealyard.server.limits import Limits
from sealyard.server.local import LocalServer
from sealyard.server.logs import log_exchange
from sealyard.server.metrics import Metrics, metrics_call
from sealyard.server.oidc import Issuer
from sealyard.server.serving import (
    Listener,
    listen_on,
    network_listener,
    parse_address,
    require_guarded,
)
from sealyard.server.settings import ServerSettings
from sealyard.server.tenants import Tenants

log = logging.getLogger(__name__)


class Service:
    """Open it with :meth:`open`; it serves until :meth:`stop`."""

    def __init__(self, settings: ServerSettings, engines: Mapping[str, EmbeddedClient]) -> None:
        self._settings = settings
        self._engines = engines
        self.tenants = Tenants({name: each.host for name, each in engines.items()})
        self.address = ""
        self._listener: Listener | None = None
        self._local: list[LocalServer] = []
        self._running: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, settings: ServerSettings, engines: Mapping[str, EmbeddedClient]) -> Service:
        """``engines``: by tenant; from now on the service closes them.

        Raises :class:`UsageError` for an address that cannot be listened on.
        """
        try:
            host, port = parse_address(settings.listen)
            require_guarded(host, tls=settings.tls, behind_proxy=settings.behind_proxy)
            service = cls(settings, engines)
            await service._listen(host, port)
        except BaseException:
            for each in engines.values():
                await each.close()
            raise
        return service

    async def _listen(self, host: str, port: int) -> None:
        settings = self._settings
        verify = Issuer(settings.oidc).verify if settings.oidc.issuer else None
        limits = Limits(settings.requests_per_minute)
        identity = Identity(self.tenants, limits, verify, settings.largest_upload)
        metrics = Metrics()
        scrape = metrics_call(metrics, self.tenants, anywhere=settings.metrics_anywhere)
        app = build_app(self.tenants, identity, public_url=settings.public_url, more=[scrape])
        observed = Observed(app, metrics.observe, log_exchange)
        for name, each in self._engines.items():
            local = LocalServer(
                each.host,
                group=settings.socket_group,
                webhooks_to_private=settings.webhooks_to_private,
                shared=(name, observed),
            )
            await local.start()
            self._local.append(local)
        proxies = settings.proxy_addresses if settings.behind_proxy else ""
        self._listener = network_listener(
            observed,
            certificate=settings.tls_certificate,
            key=settings.tls_key,
            proxies=proxies,
        )
        sock = listen_on(host, port)
        port = sock.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{'https' if settings.tls else 'http'}://{shown}:{port}"
        self._serving = asyncio.create_task(self._listener.serve([sock]))

    async def stop(self) -> None:
        """No new calls; events end; running work may finish for a while, else it is handed back to the next start."""
        rests = [each.host.rest(self._settings.stop_seconds) for each in self._engines.values()]
        resting = asyncio.gather(*rests)
        if self._listener is not None:
            self._listener.stop()
        for each in self._local:
            await each.stop()
        await asyncio.gather(self._serving, return_exceptions=True)
        if left := sum(await resting):
            log.warning("%d running tasks are handed back: they go on at the next start", left)
        for engine in self._engines.values():
            await engine.close()
