"""Changes that the engine makes in the bus database: in order, in its term, and repeated until they are committed."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, LiteralString, NamedTuple

from procrastinate import App
from procrastinate.exceptions import ProcrastinateException

from sealyard.concurrency.backoff import RetryDelays
from sealyard.jobs.zone import statements
from sealyard.jobs.zone.connection import BusConnection
from sealyard.jobs.zone.queue import ASK_TASK, CRYPTO_TASK, command_task_of, job_queue_of, queueing_lock_of, queues_of
from sealyard.model.errors import FencedError, StorageError
from sealyard.storage.postgres.connection import AsyncConnection

MAX_BATCH = 200

_RETRY_DELAYS = RetryDelays.exponential(0.1, 1.0)

log = logging.getLogger(__name__)


class Change(NamedTuple):
    """A change, and the channel that is notified after its commit, if there is one.

    ``execute`` may be repeated after a commit that was not confirmed.
    """

    execute: Callable[[AsyncConnection], Awaitable[object]]
    channel: str = ""
    deleted_reports: tuple[int, ...] = ()


class BusWriter:
    """Commits changes in the order in which they were added, as long as no later engine has begun a term.

    ``on_fenced`` is called when one has; nothing is changed any more then.
    """

    def __init__(
        self, connection: BusConnection, app: App, workspace_id: str, on_fenced: Callable[[FencedError], None]
    ) -> None:
        self._connection = connection
        self._app = app
        self._workspace_id = workspace_id
        self._on_fenced = on_fenced
        self._changes: list[Change] = []
        self._is_pending = asyncio.Event()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._term: int | None = None
        self.received_reports: set[int] = set()
        """Numbers of the reports that were received, and are not deleted yet."""

    # ---- changes

    def insert_instruction(self, host: str, task: str, body: bytes, signature: bytes, channel: str) -> None:
        parameters = {"host": host, "task": task, "body": body, "signature": signature, "id": uuid.uuid4()}
        self._add(statements.INSERT_INSTRUCTION, parameters, channel)

    def delete_reports(self, *numbers: int) -> None:
        parameters = {"workspace": self._workspace_id, "numbers": list(numbers)}
        statement = statements.DELETE_REPORTS
        self._append(Change(lambda connection: connection.execute(statement, parameters), deleted_reports=numbers))

    def delete_instructions(self, task: str) -> None:
        self._add(statements.DELETE_INSTRUCTIONS, {"task": task})

    def delete_job(self, task_id: str) -> None:
        """Delete everything about the attempts of a task, except for reports."""
        self.delete_instructions(task_id)
        self._add(statements.DELETE_PROGRESS, {"task": task_id})
        self.cancel_queued(task_id)

    def delete_old(self, seconds: float) -> None:
        """Delete hosts that were silent for ``seconds``, instructions that no agent needs any more, and ended jobs."""
        self._add(statements.DELETE_OLD_HOSTS, {"seconds": seconds})
        self._add(statements.DELETE_OLD_INSTRUCTIONS, {"seconds": seconds})
        self._add(statements.DELETE_ENDED_JOBS, {"queues": list(queues_of(self._workspace_id))})

    def queue_job(self, task_id: str, number: int, size: int) -> None:
        lock = queueing_lock_of(self._workspace_id, task_id)
        arguments = {"workspace": self._workspace_id, "task": task_id, "number": number, "size": size}
        self._queue(CRYPTO_TASK, job_queue_of(self._workspace_id, size), lock, arguments)

    def queue_command(self, request_id: int) -> None:
        lock = queueing_lock_of(self._workspace_id, command_task_of(request_id))
        arguments = {"workspace": self._workspace_id, "request_id": request_id}
        self._queue(ASK_TASK, queues_of(self._workspace_id).commands, lock, arguments)

    def cancel_queued(self, task_id: str) -> None:
        """Delete the row of a job or command from the queue."""
        self._add(statements.DELETE_QUEUED, {"lock": queueing_lock_of(self._workspace_id, task_id)})

    def _queue(self, task: str, queue: str, lock: str, arguments: dict[str, Any]) -> None:
        async def execute(connection: AsyncConnection) -> None:
            # A row of an earlier attempt, or one whose commit was not confirmed.
            await connection.execute(statements.DELETE_QUEUED, {"lock": lock})
            deferrer = self._app.configure_task(task, queue=queue, queueing_lock=lock, connection=connection)
            try:
                await deferrer.defer_async(**arguments)
            except ProcrastinateException as error:
                raise error.__cause__ or error from None

        self._append(Change(execute))

    def _add(self, statement: LiteralString, parameters: dict[str, Any], channel: str = "") -> None:
        parameters["workspace"] = self._workspace_id
        self._append(Change(lambda connection: connection.execute(statement, parameters), channel))

    def _append(self, change: Change) -> None:
        self._changes.append(change)
        self._is_empty.clear()
        self._is_pending.set()

    # ---- the loop

    async def run(self) -> None:
        """Begin a term, then commit changes until cancelled or fenced."""
        failures = 0
        while True:
            try:
                if self._term is None:
                    self._term = await self._begin_term()
                    log.info("began term %d in the bus database", self._term)
                await self._is_pending.wait()
                await self._commit(self._changes[:MAX_BATCH])
                failures = 0
            except StorageError as error:
                failures += 1
                if failures == 1:
                    log.warning("could not write to the bus database, retrying: %s", error.message)
                await asyncio.sleep(_RETRY_DELAYS.delay_after(failures))
            except FencedError as error:
                self._on_fenced(error)
                return

    async def wait_written(self, seconds: float) -> None:
        """Wait until all changes are committed, but at most ``seconds``."""
        waiter = asyncio.ensure_future(self._is_empty.wait())
        await asyncio.wait({waiter}, timeout=seconds)
        waiter.cancel()

    async def _begin_term(self) -> int:
        holder = f"{socket.gethostname()[:200]}:{os.getpid()}:{secrets.token_hex(4)}"
        rows = await self._connection.execute(
            statements.BEGIN_TERM, {"workspace": self._workspace_id, "holder": holder}
        )
        return int(rows[0][0])

    async def _commit(self, batch: list[Change]) -> None:
        async with self._connection.transaction() as connection:
            cursor = await connection.execute(statements.HOLD_TERM, {"workspace": self._workspace_id})
            if await cursor.fetchone() != (self._term,):
                raise FencedError(
                    "Another engine of this workspace uses the bus database.",
                    "Check that no other server uses a copy of the workspace.",
                    started=True,
                )
            for change in batch:
                await change.execute(connection)
        del self._changes[: len(batch)]
        self.received_reports -= {n for change in batch for n in change.deleted_reports}
        if not self._changes:
            self._is_pending.clear()
            self._is_empty.set()
        for channel in sorted({change.channel for change in batch if change.channel}):
            await self._connection.execute(statements.NOTIFY, {"channel": channel})
