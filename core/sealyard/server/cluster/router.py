"""Applications in front of the routes: for clients on every server, and for the other servers on the active one."""

from __future__ import annotations

import time

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from sealyard.model.errors import SealyardError
from sealyard.server.cluster.active_server import ActiveServer
from sealyard.server.cluster.changes import ChangeSignal
from sealyard.server.cluster.exchange import Exchange, Outcome
from sealyard.server.cluster.forwarder import Forwarder
from sealyard.server.cluster.headers import NOT_ACTIVE, find_caller, remove_internal
from sealyard.server.cluster.request_gate import RequestGate
from sealyard.server.http.problems import outcome_unknown, send_problem, taking_over
from sealyard.server.observability.logging import PROBE_PATHS

FORWARDED_PATH = "forwarded"
"""Template of the path in the log and the metrics of a server that forwarded the request."""


class ClusterRouter:
    """Handles requests of clients with the routes of this server if it is active, else with those of the active one."""

    def __init__(
        self,
        routes: ASGIApp,
        gate: RequestGate,
        active_server: ActiveServer,
        forwarder: Forwarder,
        changes: ChangeSignal,
        wait_seconds: float,
    ) -> None:
        """``wait_seconds``: how long a request waits for an active server. ``changes``: notified if there is one."""
        self._routes = routes
        self._gate = gate
        self._active_server = active_server
        self._forwarder = forwarder
        self._changes = changes
        self._wait_seconds = wait_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["path"] in PROBE_PATHS:
            await self._routes(scope, receive, send)
            return
        scope["headers"] = remove_internal(scope["headers"])
        exchange = Exchange(scope, receive, send)
        try:
            await self._handle(exchange)
        except SealyardError as error:
            await exchange.fail(error)

    async def _handle(self, exchange: Exchange) -> None:
        """Make attempts until a server has handled the request, or another attempt is not safe."""
        deadline = time.monotonic() + self._wait_seconds
        may_repeat = True
        while (outcome := await self._attempt(exchange, deadline)) is not Outcome.FINISHED:
            if outcome is Outcome.LOST and not (may_repeat and exchange.is_repeatable):
                await exchange.fail(outcome_unknown())
                return
            if outcome is Outcome.LOST:
                may_repeat = False
                deadline = time.monotonic() + self._wait_seconds
            elif exchange.is_body_consumed or time.monotonic() >= deadline:
                await exchange.fail(taking_over())
                return

    async def _attempt(self, exchange: Exchange, deadline: float) -> Outcome:
        """Wait until ``deadline`` for an active server, which handles the request."""
        while True:
            if self._gate.is_open:
                return await self._gate.handle(exchange, self._routes)
            if self._active_server.target is not None:
                return await self._forward(exchange)
            remaining_seconds = deadline - time.monotonic()
            if remaining_seconds <= 0:
                return Outcome.NOT_STARTED
            await self._changes.wait(remaining_seconds)

    async def _forward(self, exchange: Exchange) -> Outcome:
        target = self._active_server.target
        assert target is not None
        exchange.scope["path_template"] = FORWARDED_PATH
        outcome = await self._forwarder.forward(exchange, self._active_server, target)
        if outcome is not Outcome.FINISHED:
            self._active_server.report_failure(target)
        return outcome


class InternalApp:
    """Handles requests that other servers forward, if this server is active. It forwards none itself."""

    def __init__(self, routes: ASGIApp, gate: RequestGate) -> None:
        self._routes = routes
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return
        _restore_caller(scope)
        exchange = Exchange(scope, receive, send)
        outcome = await self._gate.handle(exchange, self._routes)
        if outcome is Outcome.FINISHED:
            return
        if outcome is Outcome.NOT_STARTED or exchange.is_repeatable:
            await send_problem(exchange.send, taking_over(), (NOT_ACTIVE, b"1"))
        else:
            await exchange.fail(outcome_unknown())


def _restore_caller(scope: HTTPScope) -> None:
    """Set the address of the client, which the certificate of the other server makes trustworthy."""
    client, scheme = find_caller(scope["headers"])
    scope["client"], scope["scheme"] = client, scheme
    scope["headers"] = remove_internal(scope["headers"])
