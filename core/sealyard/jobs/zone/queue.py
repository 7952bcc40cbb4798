"""The queue of jobs and key commands in a bus database, which Procrastinate manages.

A row of the queue contains ids only. An agent that has fetched a job reports that it has claimed it, and waits for the
instruction that starts it. The instruction for a key command is stored when the command is queued.
"""

from __future__ import annotations

from hashlib import md5
from typing import TYPE_CHECKING, NamedTuple

from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.storage.postgres.connection import AsyncConnection, Database, require_private

if TYPE_CHECKING:
    from procrastinate import App

CRYPTO_TASK = "crypto"
"""A job. Arguments: ``workspace``, ``task``, ``number`` (the fencing token of its next lease) and ``size`` in bytes."""

ASK_TASK = "ask"
"""A key command. Arguments: ``workspace`` and ``request_id``."""


class Queues(NamedTuple):
    """The names of the queues of a workspace.

    Agents serve each of them with a limit of its own, so that small jobs do not wait for large ones, and key commands
    do not wait for jobs.
    """

    small: str
    large: str
    commands: str


def queues_of(workspace_id: str) -> Queues:
    queue = f"crypto.{workspace_id}"
    return Queues(small=queue, large=f"{queue}.large", commands=f"{queue}.commands")


def job_queue_of(workspace_id: str, size: int) -> str:
    """Return the name of the queue for a job of ``size`` bytes."""
    queues = queues_of(workspace_id)
    return queues.large if size >= LARGE_JOB_BYTES else queues.small


def queueing_lock_of(workspace_id: str, task_id: str) -> str:
    """Return the lock that keeps the job of a task from being queued twice."""
    return f"{workspace_id}:{task_id}"


def command_task_of(request_id: int) -> str:
    """Return the value of ``bus.instruction.task`` for a key command, whose ``host`` is empty."""
    return f"request {request_id}"


def report_channel_of(workspace_id: str) -> str:
    """Return the channel of PostgreSQL that is notified after a report was inserted."""
    return f"reports_{workspace_id}"


def host_channel_of(host: str) -> str:
    """Return the channel of PostgreSQL that is notified after an instruction for the agent was inserted."""
    # A hash, because the name of a channel has at most 63 bytes.
    return f"host_{md5(host.encode(), usedforsecurity=False).hexdigest()}"


def build_app(database: Database, *, max_connections: int = 4, timeout: float = 30.0) -> App:
    """Return the application of Procrastinate. It connects when it is opened (``async with app.open_async()``).

    ``timeout``: seconds that a call waits for a connection.
    """
    from procrastinate import App, PsycopgConnector

    return App(
        connector=PsycopgConnector(
            conninfo="",
            kwargs=database.parameters,
            min_size=1,
            max_size=max_connections,
            timeout=timeout,
            configure=_check_connection,
        )
    )


async def _check_connection(connection: AsyncConnection) -> None:
    require_private(connection)
