"""A server that serves its workspace together with others."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from sealyard.model.errors import FencedError, SealyardError
from sealyard.model.health import HealthCheck
from sealyard.model.workspace import WorkspacePaths
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.cluster.active_server import ActiveServer
from sealyard.server.cluster.certificates import ClusterCertificates
from sealyard.server.cluster.changes import ChangeSignal
from sealyard.server.cluster.engine_service import ClusterEngineService
from sealyard.server.cluster.forwarder import Forwarder
from sealyard.server.cluster.lease_watch import LeaseSource, LeaseWatch
from sealyard.server.cluster.member import ClusterMember, MemberState, OpenEngine
from sealyard.server.cluster.metrics import ClusterMetrics
from sealyard.server.cluster.request_gate import RequestGate
from sealyard.server.cluster.router import ClusterRouter, InternalApp
from sealyard.server.cluster.shared_folder import SharedFolderCheck
from sealyard.server.frontend import Frontend
from sealyard.server.http.listeners import UvicornListener, bind, cluster_listener, parse_address
from sealyard.server.http.problems import handle_fenced
from sealyard.server.http.request_log import RequestRecord
from sealyard.server.observability.logging import PROBE_PATHS, log_request
from sealyard.server.settings import ServerSettings

TAKEOVER_SECONDS = 5.0
"""How long requests wait for an active server, in addition to the duration of the lease."""

log = logging.getLogger(__name__)


class ClusterServer:
    """One of the servers of a workspace. :meth:`open` creates and starts it; :meth:`stop` stops it."""

    def __init__(
        self,
        settings: ServerSettings,
        tenant: str,
        paths: WorkspacePaths,
        open_engine: OpenEngine,
        lease_source: LeaseSource,
    ) -> None:
        """Create a server that does not listen yet. See :meth:`open`."""
        cluster = settings.cluster
        self._settings = settings
        self._wait_seconds = cluster.lease_seconds + TAKEOVER_SECONDS
        self.tenants = TenantRegistry({tenant: None})
        self._certificates = ClusterCertificates(cluster)
        self._frontend = Frontend(
            settings,
            self.tenants,
            standby_status=self,
            exception_handlers={FencedError: handle_fenced},
            request_logger=self._log_request,
        )
        self._metrics = ClusterMetrics(self._frontend.metrics.registry)
        changes = ChangeSignal()
        self._gate = RequestGate()
        self._watch = LeaseWatch(lease_source, changes)
        self._forwarder = Forwarder(self._certificates, self._metrics)
        self._active_server = ActiveServer(cluster.url.rstrip("/"), self._watch, self._forwarder.probe, changes)
        self._folder = SharedFolderCheck(paths.lock)
        logged_routes = self._frontend.with_request_log(self._frontend.routes)
        service = ClusterEngineService(settings, tenant, self.tenants, self._gate, logged_routes, self._metrics)
        self._member = ClusterMember(self._watch, self._folder, open_engine, service, changes, self._is_reached)
        router = ClusterRouter(
            self._frontend.routes, self._gate, self._active_server, self._forwarder, changes, self._wait_seconds
        )
        self._app = self._frontend.with_request_log(router)
        self._internal_listener: UvicornListener = cluster_listener(
            InternalApp(logged_routes, self._gate), self._certificates.server_context
        )
        self._serve_tasks: list[asyncio.Task[None]] = []
        self._watch_tasks: list[asyncio.Task[None]] = []
        self._member_task: asyncio.Task[None] | None = None
        self._metrics.watch(lambda: self.is_active, self._read_term, lambda: max(0.0, self._watch.remaining_seconds))

    @classmethod
    async def open(
        cls,
        settings: ServerSettings,
        tenant: str,
        paths: WorkspacePaths,
        open_engine: OpenEngine,
        lease_source: LeaseSource,
    ) -> ClusterServer:
        """Create a server and start it, as a standby that takes over the workspace if no other server has it.

        ``tenant``, ``paths``: name and folder of the workspace. ``lease_source``: reads its lease; the server closes
        it. Raises :class:`UsageError` if a setting is invalid or an address cannot be used.
        """
        server = cls(settings, tenant, paths, open_engine, lease_source)
        try:
            await server._start()
        except BaseException:
            await server._close()
            raise
        log.info("server started on %s, for other servers on %s", server.address, settings.cluster.listen)
        return server

    @property
    def address(self) -> str:
        return self._frontend.address

    @property
    def state(self) -> MemberState:
        return self._member.state

    @property
    def is_active(self) -> bool:
        return self._gate.is_open

    def check(self) -> tuple[HealthCheck, ...]:
        """Return the health checks of a standby."""
        if self.state in (MemberState.HANDING_OVER, MemberState.STOPPED):
            return (HealthCheck(name="stopping", passed=False),)
        return (
            HealthCheck(name="active-server", passed=self._active_server.was_reached_within(self._wait_seconds)),
            HealthCheck(name="shared-folder", passed=not self._folder.error, detail=self._folder.error),
            HealthCheck(name="takeover", passed=not self._member.error, detail=self._member.error),
        )

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Wait until ``stop`` is set. If a part of the server fails before that, raises its exception."""
        stop_wait = asyncio.create_task(stop.wait())
        assert self._member_task is not None
        tasks = {stop_wait, self._member_task, *self._serve_tasks, *self._watch_tasks}
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        stop_wait.cancel()
        for task in done:
            await task

    def reload_certificate(self) -> None:
        """Reload the certificates for new connections. If they are invalid, logs an error and keeps the old ones."""
        self._frontend.reload_certificate()
        try:
            self._certificates.reload()
        except SealyardError as error:
            log.error("certificates of the cluster not reloaded, the previous ones stay in use: %s", error)
            return
        self._forwarder.reload_certificates()
        log.info("certificates of the cluster reloaded")

    async def stop(self, force: asyncio.Event | None = None) -> None:
        """Stop the server.

        If it is active, it interrupts running tasks, which the next active server resumes, and releases the lease.
        Requests that still arrive are forwarded to that server until the listeners are closed. Once ``force`` is set,
        open responses are aborted.
        """
        force_wait = asyncio.create_task((force or asyncio.Event()).wait())
        close_task = asyncio.create_task(self._close())
        await asyncio.wait({close_task, force_wait}, return_when=asyncio.FIRST_COMPLETED)
        force_wait.cancel()
        self._frontend.abort()
        await close_task
        log.info("server stopped")

    async def _start(self) -> None:
        self._serve_tasks.append(self._frontend.listen(self._app))
        internal_socket = bind(*parse_address(self._settings.cluster.listen))
        self._serve_tasks.append(asyncio.create_task(self._internal_listener.serve([internal_socket])))
        self._watch_tasks += [asyncio.create_task(self._watch.run()), asyncio.create_task(self._active_server.run())]
        self._member_task = asyncio.create_task(self._member.run())

    async def _close(self) -> None:
        if self._member_task is not None:
            self._member.stop()
            await asyncio.wait({self._member_task})
        self._forwarder.end_event_streams()
        # Without an engine, it answers nothing. Idle connections of other servers would delay its end.
        self._internal_listener.stop()
        self._internal_listener.abort()
        await asyncio.gather(self._frontend.stop(), *self._serve_tasks, return_exceptions=True)
        for task in self._watch_tasks:
            task.cancel()
        await asyncio.gather(*self._watch_tasks, return_exceptions=True)
        with suppress(SealyardError):
            self._watch.close()
        await self._forwarder.close()

    def _is_reached(self) -> bool:
        return self._active_server.target is not None

    def _log_request(self, request: RequestRecord) -> None:
        """Log a request, but not that a standby without problems is not the active server (``/readyz?active``)."""
        is_probe = request.path in PROBE_PATHS and not self.is_active
        if not (is_probe and all(check.passed for check in self.check())):
            log_request(request)

    def _read_term(self) -> int:
        return self._watch.holder.term if self._watch.holder is not None else 0
