"""Instructions of the engine to this agent: received from the bus database, verified, and dispatched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import psycopg
from psycopg import sql

from sealyard.concurrency.backoff import RetryDelays
from sealyard.jobs.zone import statements
from sealyard.jobs.zone.codec import open_instruction
from sealyard.jobs.zone.connection import BusConnection, Rows
from sealyard.jobs.zone.queue import command_task_of, host_channel_of
from sealyard.model.errors import IntegrityError, StorageError
from sealyard.model.zone_messages import Instruction, RunCommand, SignedMessage
from sealyard.model.zones import Enrollment
from sealyard.storage.postgres.connection import AsyncConnection, Database

POLL_INTERVAL = 0.5
"""Seconds after which the agent reads its instructions even if it was not notified."""

_RETRY_DELAYS = RetryDelays.exponential(0.1, 1.0)
_MAX_UNCHECKED = 1000
"""Number of handled instructions from which on those that the engine has deleted are forgotten."""

log = logging.getLogger(__name__)


class InstructionVerifier:
    """Verifies that the engine of the workspace has signed an instruction, and for which agent."""

    def __init__(self, enrollment: Enrollment) -> None:
        self._order_key = enrollment.order_key
        self._workspace_id = enrollment.workspace_id

    def open(self, message: SignedMessage, host: str) -> Instruction | None:
        """Return the instruction for the agent ``host``. Logs an invalid one, and returns None."""
        try:
            instruction = open_instruction(self._order_key, message)
        except IntegrityError as error:
            log.warning("ignored an instruction: %s", error.message)
            return None
        if (instruction.workspace, instruction.host) != (self._workspace_id, host):
            log.warning("ignored an instruction in the bus database: it is for another workspace or agent")
            return None
        return instruction


class InstructionInbox:
    """Calls ``dispatch`` once for each valid instruction to the agent ``host``, in the order of their numbers."""

    def __init__(
        self,
        database: Database,
        connection: BusConnection,
        enrollment: Enrollment,
        host: str,
        dispatch: Callable[[Instruction], None],
    ) -> None:
        self._database = database
        self._connection = connection
        self._workspace_id = enrollment.workspace_id
        self._verifier = InstructionVerifier(enrollment)
        self._host = host
        self._dispatch = dispatch
        self._handled: set[int] = set()
        self._is_notified = asyncio.Event()

    async def run(self) -> None:
        """Receive instructions, until cancelled."""
        listener = asyncio.create_task(self._listen())
        try:
            while True:
                await self._receive()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._is_notified.wait(), POLL_INTERVAL)
        finally:
            listener.cancel()
            await asyncio.wait({listener})

    async def find_command(self, request_id: int) -> RunCommand | None:
        """Return a key command for the agent that claims it, or None if the engine has not sent or has deleted it."""
        parameters = {"workspace": self._workspace_id, "task": command_task_of(request_id)}
        for body, signature in await self._connection.execute(statements.READ_COMMAND, parameters):
            instruction = self._verifier.open(SignedMessage(body=body, signature=signature), "")
            message = None if instruction is None else instruction.message
            if isinstance(message, RunCommand) and message.request_id == request_id:
                return message
        return None

    async def _receive(self) -> None:
        self._is_notified.clear()
        address = {"workspace": self._workspace_id, "host": self._host}
        try:
            rows = await self._connection.execute(
                statements.READ_INSTRUCTIONS, {**address, "processed": list(self._handled)}
            )
            if len(self._handled) > _MAX_UNCHECKED:
                present = await self._connection.execute(statements.LIST_INSTRUCTIONS, address)
                self._handled &= {n for (n,) in present}
        except StorageError as error:
            log.debug("could not read the instructions: %s", error.message)
            return
        self._handle(rows)

    def _handle(self, rows: Rows) -> None:
        for n, body, signature in rows:
            self._handled.add(n)
            instruction = self._verifier.open(SignedMessage(body=body, signature=signature), self._host)
            if instruction is not None:
                self._dispatch(instruction)

    async def _listen(self) -> None:
        """Wait for notifications. While the connection is lost, instructions are only polled."""
        failures = 0
        while True:
            try:
                connection = await self._database.connect_async()
                async with connection:
                    await self._wait_for_notifications(connection)
            except (StorageError, psycopg.Error):
                failures += 1
                await asyncio.sleep(_RETRY_DELAYS.delay_after(failures))

    async def _wait_for_notifications(self, connection: AsyncConnection) -> None:
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(host_channel_of(self._host))))
        self._is_notified.set()
        async for _ in connection.notifies():
            self._is_notified.set()
