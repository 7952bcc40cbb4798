"""A connection of the application to a test's workspace, which tests can lose and restore."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from sealyard.client.config.profiles import Profile
from sealyard.client.http.status import ConnectionStatus
from sealyard.client.protocol import Client
from sealyard.model.errors import SealyardError, ServerUnreachableError
from sealyard_tui.session.connections import ErrorCallback, StatusCallback
from sealyard_tui.session.messages import ConnectionMode
from tests.tui.workspace import TuiWorkspace

LOST = ServerUnreachableError("Cannot reach seal.example.", "Check that the server is running and reachable.")


class FakeConnection:
    """A :class:`~sealyard_tui.session.connections.WorkspaceConnection` to an open :class:`TuiWorkspace`.

    ``gate``: connecting waits for this event. ``read_only_error``: why the workspace is read-only. ``has_preview``:
    whether unverified data is shown until the connection is open. The fault of the method ``connect`` fails the
    connection.
    """

    def __init__(
        self,
        workspace: TuiWorkspace,
        gate: asyncio.Event | None = None,
        mode: ConnectionMode = ConnectionMode.OWNER,
        host: str = "",
        *,
        read_only: bool = False,
        read_only_error: SealyardError | None = None,
        has_preview: bool = False,
    ) -> None:
        self.on_error: ErrorCallback = lambda _: None
        self.mode = mode
        self.host = host
        self.read_only = read_only
        self.read_only_error = read_only_error
        self.gate = gate
        self.has_preview = has_preview
        self._workspace = workspace
        self._on_status: StatusCallback | None = None

    async def connect(self, profile: Profile, on_status: StatusCallback) -> Client:
        if self.gate is not None:
            await self.gate.wait()
        if "connect" in self._workspace.faults.fail:
            raise self._workspace.faults.fail["connect"]
        self._on_status = on_status
        return self._workspace.client(profile.identity)

    async def open_preview(self, profile: Profile) -> Client | None:
        return self._workspace.client(profile.identity) if self.has_preview else None

    async def close_preview(self) -> None:
        self.has_preview = False

    async def start_listening(self) -> None:
        return None

    async def close(self) -> None:
        return None

    def lose(self) -> None:
        """Lose the connection now, six seconds after the last answer: all calls fail."""
        now = self._workspace.now
        self._workspace.faults.lost = LOST
        self.report(ConnectionStatus(last_answer_at=now - timedelta(seconds=6), reconnecting_since=now))

    def suspend(self) -> None:
        """Lose the connection now: all calls wait until :meth:`restore`."""
        now = self._workspace.now
        self._workspace.faults.suspended = asyncio.Event()
        self.report(ConnectionStatus(last_answer_at=now, reconnecting_since=now))

    def restore(self, mode: ConnectionMode | None = None) -> None:
        """Restore the connection, perhaps in another ``mode``."""
        faults = self._workspace.faults
        faults.lost = None
        if faults.suspended is not None:
            faults.suspended.set()
            faults.suspended = None
        self.mode = mode or self.mode
        self.report(ConnectionStatus(last_answer_at=self._workspace.now))

    def report(self, status: ConnectionStatus) -> None:
        assert self._on_status is not None
        self._on_status(status)
