"""The intents of a zone: what its hosts were permitted to sign for each task. Rows are inserted, but never changed."""

from __future__ import annotations

from sealyard.agent.bus_connection import BusConnection
from sealyard.model.errors import IntegrityError
from sealyard.model.safe_text import escape_text

_INSERT = """
INSERT INTO bus.intent (workspace, task, sha256, fencing_token, host) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (workspace, task) DO NOTHING
"""
_SELECT = "SELECT sha256 FROM bus.intent WHERE workspace = %s AND task = %s"


class Intents:
    """Records intents in the bus database, so that no two hosts of the zone sign different bytes for one task."""

    def __init__(self, connection: BusConnection, workspace_id: str) -> None:
        self._connection = connection
        self._workspace_id = workspace_id

    async def record(self, task_id: str, fencing_token: int, sha256: str, host: str) -> None:
        """Record that a worker of this host may sign the bytes with this SHA-256 (hex) for the task.

        Raises :class:`IntegrityError` if another SHA-256 is recorded for the task, and :class:`StorageError` if the
        database cannot be used.
        """
        await self._connection.execute(_INSERT, (self._workspace_id, task_id, sha256, fencing_token, host))
        rows = await self._connection.execute(_SELECT, (self._workspace_id, task_id))
        if rows != [(sha256,)]:
            raise IntegrityError(
                f"Another host of the zone was permitted to sign other bytes for task {escape_text(task_id, 80)}."
                " Nothing was signed.",
                "Submit the request again.",
            )
