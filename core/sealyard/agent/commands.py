"""Key commands: an agent fetches the order from the bus database, and one of its workers executes it."""

from __future__ import annotations

import asyncio
import logging

from sealyard.agent.instruction_inbox import InstructionInbox
from sealyard.agent.key_file_sync import KeyFileSync
from sealyard.agent.outbox import Outbox
from sealyard.jobs.worker_pool import WorkerPool
from sealyard.model.errors import SealyardError, WorkerError
from sealyard.model.zone_messages import CommandFailed, RunCommand, SignedMessage, SignedReport

log = logging.getLogger(__name__)


class CommandRunner:
    """Executes the key commands that this agent has claimed."""

    def __init__(self, pool: WorkerPool, key_files: KeyFileSync, outbox: Outbox) -> None:
        self._pool = pool
        self._key_files = key_files
        self._outbox = outbox
        self._key_lock = asyncio.Lock()

    async def run(self, inbox: InstructionInbox, host: str, request_id: int) -> None:
        """Execute a command and report the response of the worker. ``host``: the name of this agent."""
        try:
            command = await inbox.find_command(request_id)
            if command is None:
                log.info("ignored a key command for which the server does not wait")
                return
            response = await self._execute(command, host)
        except SealyardError as error:
            log.warning("a key command failed: %s", error.message)
            self._outbox.send(host, CommandFailed(request_id=request_id, error=error.to_info()))
        else:
            self._outbox.send(host, SignedReport(report=response))

    async def _execute(self, command: RunCommand, host: str) -> SignedMessage:
        """Return the response. Changed key files are published before, so that each host has the keys of a response."""
        if not command.changes_keys:
            await self._key_files.fetch()
            return await self._request(command)
        async with self._key_lock:
            await self._key_files.fetch()
            try:
                return await self._request(command)
            finally:
                await self._key_files.publish(host)

    async def _request(self, command: RunCommand) -> SignedMessage:
        response = await self._pool.request(command.request_id, command.order)
        if response is None:
            raise WorkerError("The crypto worker exited before it responded.", "Try again, or see the worker log.")
        return response
