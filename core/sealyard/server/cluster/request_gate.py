"""Handles requests with the engine of this server while it is active."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from litestar.types import ASGIApp, Scope

from sealyard.model.cluster import HeldLease
from sealyard.server.cluster.exchange import Exchange, Outcome

log = logging.getLogger(__name__)

LeaseState = Callable[[], HeldLease | None]
"""Returns the lease of this server's engine."""


class RequestGate:
    """Passes requests to the routes while the engine is open, and ends them before it is closed."""

    def __init__(self) -> None:
        """Create a closed gate."""
        self._get_lease: LeaseState | None = None
        self._requests: set[asyncio.Task[None]] = set()

    @property
    def is_open(self) -> bool:
        """Whether this server may answer. False as soon as its lease has lapsed by the clock of this machine."""
        if self._get_lease is None:
            return False
        lease = self._get_lease()
        return lease is None or lease.remaining_seconds is None or lease.remaining_seconds > 0

    def open(self, get_lease: LeaseState) -> None:
        self._get_lease = get_lease

    def close(self) -> None:
        """Reject further requests. Any thread may call it."""
        self._get_lease = None

    async def finish(self, seconds: float) -> None:
        """Wait up to ``seconds`` for the requests in progress, then interrupt them. The gate must be closed."""
        if self._requests:
            await asyncio.wait(self._requests, timeout=seconds)
        interrupted = set(self._requests)
        for request in interrupted:
            request.cancel()
        if interrupted:
            log.info("interrupted requests: %d", len(interrupted))
            await asyncio.wait(interrupted)

    async def handle(self, exchange: Exchange, routes: ASGIApp) -> Outcome:
        """Handle a request with ``routes``, unless the gate is closed."""
        if not self.is_open:
            return Outcome.NOT_STARTED
        exchange.begin_attempt()
        scope = cast(Scope, exchange.scope)
        request = asyncio.create_task(_call(routes, scope, exchange))
        self._requests.add(request)
        request.add_done_callback(self._requests.discard)
        try:
            await asyncio.wait({request})
        except asyncio.CancelledError:
            request.cancel()
            await asyncio.wait({request})
            raise
        if request.cancelled():
            return Outcome.LOST
        request.result()
        return Outcome.FINISHED


async def _call(routes: ASGIApp, scope: Scope, exchange: Exchange) -> None:
    await routes(scope, exchange.receive, exchange.send)
