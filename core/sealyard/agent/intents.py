"""The intents of a zone: what its hosts were permitted to sign for each task. Rows are inserted, but never changed."""

from __future__ import annotations

from sealyard.jobs.zone import statements
from sealyard.jobs.zone.connection import BusConnection
from sealyard.model.errors import IntegrityError
from sealyard.model.safe_text import escape_text


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
        intent = {
            "workspace": self._workspace_id,
            "task": task_id,
            "sha256": sha256,
            "fencing_token": fencing_token,
            "host": host,
        }
        await self._connection.execute(statements.RECORD_INTENT, intent)
        rows = await self._connection.execute(statements.READ_INTENT, intent)
        if rows != [(sha256,)]:
            raise IntegrityError(
                f"Another host of the zone was permitted to sign other bytes for task {escape_text(task_id, 80)}."
                " Nothing was signed.",
                "Submit the request again.",
            )
