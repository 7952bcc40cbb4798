"""Key commands to the workers of a zone: encrypted, and executed by any of its hosts."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from datetime import timedelta

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sealyard.concurrency.active_time import wait_active
from sealyard.crypto.sealing import COMMAND_INFO, RESPONSE_INFO, seal, unseal
from sealyard.jobs.pipe_bus import IDEMPOTENT_COMMANDS
from sealyard.jobs.zone.codec import encode_message
from sealyard.jobs.zone.instructions import InstructionSender
from sealyard.jobs.zone.queue import command_task_of
from sealyard.jobs.zone.writer import BusWriter
from sealyard.model.base import JSON_ERRORS
from sealyard.model.clock import Clock
from sealyard.model.errors import IntegrityError, WorkerError, error_from_info
from sealyard.model.key_commands import GenerateKey, ImportCertificate, ImportKey, KeyCommand, RegisterKey, RotateKey
from sealyard.model.worker_messages import KeyResponse
from sealyard.model.zone_messages import CommandContent, CommandFailed, RunCommand, SealedCommand, SealedResponse

COMMAND_SECONDS = 120.0
"""Time after which workers refuse a command."""

REQUEST_TIMEOUT = 60.0
"""Time in seconds that the zone has to respond to a command."""

KEY_CHANGES = GenerateKey | RegisterKey | ImportKey | RotateKey | ImportCertificate
"""Commands after which the other hosts copy key files. They are executed one after the other."""

_response_decoder = msgspec.json.Decoder(KeyResponse)


class _CommandFailedError(Exception):
    """A worker could not execute a command, or exited before it responded."""

    def __init__(self, error: WorkerError) -> None:
        super().__init__(error.message)
        self.error = error


class ZoneCommands:
    """Sends key commands, and matches the responses to them. ``sealing_key``: the public one of the zone."""

    def __init__(self, writer: BusWriter, sealing_key: bytes, clock: Clock) -> None:
        self._writer = writer
        self._sealing_key = sealing_key
        self._clock = clock
        self._responses: dict[int, asyncio.Future[bytes]] = {}
        self._key_changes = asyncio.Lock()

    async def request(self, sender: InstructionSender, command: KeyCommand) -> KeyResponse:
        """Send the command and return the response.

        Raises the error that the worker reports, and :class:`WorkerError` if no host responds.
        """
        async with AsyncExitStack() as stack:
            if isinstance(command, KEY_CHANGES):
                await stack.enter_async_context(self._key_changes)
            try:
                response = await self._exchange(sender, command)
            except _CommandFailedError as exited:
                if not isinstance(command, IDEMPOTENT_COMMANDS):
                    raise exited.error from None
                response = await self._repeat(sender, command)
        if response.error is not None:
            raise error_from_info(response.error)
        return response

    def on_response(self, response: SealedResponse) -> None:
        if (future := self._responses.get(response.request_id)) is not None and not future.done():
            future.set_result(response.ciphertext)

    def on_failure(self, failure: CommandFailed) -> None:
        if (future := self._responses.get(failure.request_id)) is not None and not future.done():
            error = error_from_info(failure.error)
            future.set_exception(_CommandFailedError(error) if isinstance(error, WorkerError) else error)

    async def _repeat(self, sender: InstructionSender, command: KeyCommand) -> KeyResponse:
        try:
            return await self._exchange(sender, command)
        except _CommandFailedError as exited:
            raise exited.error from None

    async def _exchange(self, sender: InstructionSender, command: KeyCommand) -> KeyResponse:
        reply_key = X25519PrivateKey.generate()
        request_id = secrets.randbits(52)
        content = CommandContent(
            request_id=request_id, command=command, reply_key=reply_key.public_key().public_bytes_raw()
        )
        order = sender.sign(
            SealedCommand(
                request_id=request_id,
                ciphertext=seal(self._sealing_key, encode_message(content), COMMAND_INFO),
                not_after=self._clock.now() + timedelta(seconds=COMMAND_SECONDS),
            )
        )
        future = self._responses[request_id] = asyncio.get_running_loop().create_future()
        sender.send_command(
            RunCommand(request_id=request_id, order=order, changes_keys=isinstance(command, KEY_CHANGES))
        )
        self._writer.queue_command(request_id)
        try:
            if not await wait_active(future, REQUEST_TIMEOUT):
                raise WorkerError(
                    "The crypto zone did not respond to a key command.", "Check the log of its hosts, then try again."
                )
            return _open_response(reply_key, request_id, future.result())
        finally:
            del self._responses[request_id]
            self._writer.delete_instructions(command_task_of(request_id))
            self._writer.cancel_queued(command_task_of(request_id))


def _open_response(reply_key: X25519PrivateKey, request_id: int, ciphertext: bytes) -> KeyResponse:
    plaintext = unseal(reply_key.private_bytes_raw(), ciphertext, RESPONSE_INFO)
    try:
        response = _response_decoder.decode(plaintext)
    except JSON_ERRORS:
        response = None
    if response is None or response.request_id != request_id:
        raise IntegrityError(
            "The response to a key command is invalid.",
            "Check that the server and the crypto host have the same version of Sealyard.",
        )
    return response
