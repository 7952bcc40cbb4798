"""Instructions of the engine to this agent: received from the bus database, verified, and dispatched."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress

import msgspec
import psycopg
from psycopg import sql

from sealyard.agent.bus_connection import BusConnection, Rows
from sealyard.concurrency.backoff import RetryDelays
from sealyard.crypto.signed_messages import MessageLabel, verify_message
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import SealyardError, StorageError
from sealyard.model.zone_messages import Instruction, RunCommand, SignedMessage
from sealyard.model.zones import Enrollment
from sealyard.storage.postgres.connection import AsyncConnection, Database

POLL_INTERVAL = 0.5
"""Seconds after which the agent reads its instructions even if it was not notified."""

_RETRY_DELAYS = RetryDelays.exponential(0.1, 1.0)
_SELECT = """
SELECT n, CASE WHEN n = ANY(%s) THEN NULL ELSE body END, signature FROM bus.instruction
WHERE workspace = %s AND host = %s ORDER BY n
"""
_SELECT_COMMANDS = "SELECT n, body, signature FROM bus.instruction WHERE workspace = %s AND host = '' ORDER BY n DESC"

log = logging.getLogger(__name__)


class InstructionVerifier:
    """Verifies that the engine of the workspace has signed an instruction, and for which agent."""

    def __init__(self, enrollment: Enrollment) -> None:
        self._order_key = enrollment.order_key
        self._workspace_id = enrollment.workspace_id

    def open(self, message: SignedMessage, host: str) -> Instruction | None:
        """Return the instruction for the agent ``host``. Logs an invalid one, and returns None."""
        try:
            body = verify_message(self._order_key, MessageLabel.INSTRUCTION, message)
            instruction = msgspec.json.decode(body, type=Instruction)
        except SealyardError:
            log.warning("ignored an instruction in the bus database: its signature is not valid")
            return None
        except JSON_ERRORS:
            log.warning("ignored an instruction that this version does not know; update Sealyard on this host")
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
        self._handled: list[int] = []
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
        for _, body, signature in await self._connection.execute(_SELECT_COMMANDS, (self._workspace_id,)):
            instruction = self._verifier.open(SignedMessage(body=body, signature=signature), "")
            message = None if instruction is None else instruction.message
            if isinstance(message, RunCommand) and message.request_id == request_id:
                return message
        return None

    async def _receive(self) -> None:
        self._is_notified.clear()
        try:
            rows = await self._connection.execute(_SELECT, (self._handled, self._workspace_id, self._host))
        except StorageError as error:
            log.debug("could not read the instructions: %s", error.message)
            return
        self._handle(rows)

    def _handle(self, rows: Rows) -> None:
        # Rows that the engine has deleted are forgotten.
        self._handled = [n for n, _, _ in rows]
        for _, body, signature in rows:
            if body is not None:
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
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel_of(self._host))))
        self._is_notified.set()
        async for _ in connection.notifies():
            self._is_notified.set()


def channel_of(host: str) -> str:
    """Return the channel of notifications for an agent."""
    return f"host_{hashlib.md5(host.encode(), usedforsecurity=False).hexdigest()}"
