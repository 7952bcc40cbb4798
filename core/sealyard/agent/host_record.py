"""The row of this agent in ``bus.host``, and its heartbeat."""

from __future__ import annotations

import secrets
import socket
from importlib.metadata import version
from typing import Any, NamedTuple

import msgspec

from sealyard.jobs.zone import statements
from sealyard.jobs.zone.connection import BusConnection
from sealyard.model.errors import WorkspaceError
from sealyard.model.safe_text import escape_text
from sealyard.model.worker_messages import RefusedMeasure
from sealyard.model.zones import Enrollment


class HostState(NamedTuple):
    """What the engine learns about a host from its heartbeats."""

    slots: int
    running_jobs: int
    draining: bool
    refused: tuple[RefusedMeasure, ...]


def create_host_name() -> str:
    """Return a name for this start of the agent, which no other agent has."""
    return f"{socket.gethostname()[:63]}-{secrets.token_hex(4)}"


class HostRecord:
    """Registers the agent ``name``, and sends its heartbeats. Raises :class:`StorageError` as the connection does."""

    def __init__(self, connection: BusConnection, enrollment: Enrollment, name: str) -> None:
        self.name = name
        self._connection = connection
        self._enrollment = enrollment

    async def register(self, state: HostState) -> None:
        """Insert the row. Raises :class:`WorkspaceError` if the database belongs to another zone."""
        zones = await self._connection.execute(statements.READ_ZONE)
        if zones != [(self._enrollment.zone,)]:
            found = escape_text(str(zones[0][0]), 100) if zones else "none"
            raise WorkspaceError(
                f"The bus database belongs to another zone: {found} instead of {self._enrollment.zone}.",
                "Check the connection string in host.json.",
            )
        parameters = {"hostname": socket.gethostname()[:255], "version": version("sealyard"), "slots": state.slots}
        await self._connection.execute(statements.REGISTER_HOST, {**self._parameters(state), **parameters})

    async def send_heartbeat(self, state: HostState) -> bool:
        """Renew the row. Returns False if the engine has deleted it, and has given up the jobs of this agent."""
        return bool(await self._connection.execute(statements.SEND_HOST_HEARTBEAT, self._parameters(state)))

    def _parameters(self, state: HostState) -> dict[str, Any]:
        return {
            "name": self.name,
            "workspace": self._enrollment.workspace_id,
            "running_jobs": state.running_jobs,
            "draining": state.draining,
            "refused": msgspec.json.encode(state.refused).decode(),
        }
