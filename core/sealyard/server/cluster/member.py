"""The state of a server in a cluster: standby, taking over, active, handing over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import SealyardError
from sealyard.server.cluster.changes import ChangeSignal
from sealyard.server.cluster.lease_watch import POLL_SECONDS, LeaseWatch
from sealyard.server.cluster.shared_folder import SharedFolderCheck

RETRY_SECONDS = 2.0
"""Seconds between a takeover that failed and the next one."""

log = logging.getLogger(__name__)


class MemberState(StrEnum):
    STANDBY = "standby"
    TAKING_OVER = "taking over"
    ACTIVE = "active"
    HANDING_OVER = "handing over"
    STOPPED = "stopped"


class EngineService(Protocol):
    """Serves an engine. :meth:`stop` ends all use of the engine, so that it can be closed."""

    async def start(self, engine_handle: EngineHandle) -> None: ...
    async def stop(self) -> None: ...


OpenEngine = Callable[[], Awaitable[EngineHandle]]
"""Opens the engine with the lease of this server. Raises :class:`WorkspaceLockedError` if another server has it."""


class ClusterMember:
    """Opens the engine when no other server has it, and closes it when this server has lost the lease or stops.

    ``error``: why the last takeover failed; empty if it did not, or another server has become active.
    """

    def __init__(
        self,
        watch: LeaseWatch,
        folder: SharedFolderCheck,
        open_engine: OpenEngine,
        service: EngineService,
        changes: ChangeSignal,
        is_reached: Callable[[], bool],
    ) -> None:
        """``changes``: notified by ``watch``, and by this object when its state changes.

        ``is_reached``: whether the server that holds the lease answers requests.
        """
        self.state = MemberState.STANDBY
        self.error = ""
        self._watch = watch
        self._folder = folder
        self._open_engine = open_engine
        self._service = service
        self._changes = changes
        self._is_reached = is_reached
        self._stopping = False
        self._retry_at = 0.0

    async def run(self) -> None:
        """Serve the engine whenever this server gets the lease, until :meth:`stop` is called."""
        while not self._stopping:
            if self._watch.is_free and not self._folder.error and time.monotonic() >= self._retry_at:
                await self._take_over()
            else:
                await self._watch_active_server()
            await self._changes.wait(POLL_SECONDS)
        self._set_state(MemberState.STOPPED)

    def stop(self) -> None:
        """Make :meth:`run` hand over and return."""
        self._stopping = True
        self._changes.notify()

    async def _watch_active_server(self) -> None:
        if self._watch.is_free or self._watch.holder is None or not self._is_reached():
            self._folder.reset()
            return
        self.error = ""
        await self._folder.check(self._watch.holder)

    async def _take_over(self) -> None:
        self._set_state(MemberState.TAKING_OVER)
        start = time.monotonic()
        try:
            engine_handle = await self._open_engine()
        except Exception as error:
            await self._fail(error)
            return
        fenced = self._watch_fencing(engine_handle)
        try:
            await self._service.start(engine_handle)
        except Exception as error:
            await self._hand_over(engine_handle)
            await self._fail(error)
            return
        self.error = ""
        self._set_state(MemberState.ACTIVE)
        log.info("this server is active since it has taken over in %.1f s", time.monotonic() - start)
        while not (fenced.is_set() or self._stopping):
            await self._changes.wait(POLL_SECONDS)
        log.log(logging.WARNING if fenced.is_set() else logging.INFO, "this server hands over")
        await self._hand_over(engine_handle)

    def _watch_fencing(self, engine_handle: EngineHandle) -> asyncio.Event:
        """Return an event that is set when the engine may write nothing more."""
        fenced = asyncio.Event()
        loop = asyncio.get_running_loop()

        def report() -> None:
            fenced.set()
            self._changes.notify()

        engine_handle.on_fenced(lambda _: loop.call_soon_threadsafe(report))
        return fenced

    async def _hand_over(self, engine_handle: EngineHandle) -> None:
        self._set_state(MemberState.HANDING_OVER)
        try:
            await self._service.stop()
        finally:
            try:
                await engine_handle.close()
            except Exception:
                # The lease then expires, and the next server takes the lock from this process.
                log.exception("the engine was not closed correctly")
            self._set_state(MemberState.STANDBY)

    async def _fail(self, error: Exception) -> None:
        """Report why a takeover failed, unless another server was faster. Logs each reason once."""
        self._retry_at = time.monotonic() + RETRY_SECONDS
        self._set_state(MemberState.STANDBY)
        await self._watch.refresh()
        if not self._watch.is_free and self._watch.error is None:
            return
        reason = str(error)
        if reason == self.error:
            return
        self.error = reason
        if isinstance(error, SealyardError):
            log.error("this server cannot take over: %s", reason)
        else:
            log.error("this server cannot take over", exc_info=error)

    def _set_state(self, state: MemberState) -> None:
        self.state = state
        self._changes.notify()
