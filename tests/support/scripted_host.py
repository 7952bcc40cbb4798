"""A crypto host whose agent and workers are played by the test: it uses the bus database with the role of agents."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, LiteralString, NamedTuple, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sealyard.crypto.sealing import COMMAND_INFO, RESPONSE_INFO, seal, unseal
from sealyard.jobs.zone import statements
from sealyard.jobs.zone.codec import encode_message, open_instruction, open_order, sign_worker_report
from sealyard.jobs.zone.connection import BusConnection
from sealyard.jobs.zone.queue import build_app, command_task_of, queues_of, report_channel_of
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import StorageError
from sealyard.model.key_commands import KeyCommand
from sealyard.model.worker_messages import KeyResponse
from sealyard.model.zone_messages import (
    AgentReport,
    CommandContent,
    Instruction,
    JobClaimed,
    Order,
    RunCommand,
    SealedCommand,
    SealedResponse,
    SignedMessage,
    SignedReport,
    WorkerReport,
)
from sealyard.model.zones import ZonePublicKeys
from sealyard.storage.postgres.connection import Database
from tests.support.bus_database import BusDatabase
from tests.support.limits import TIMEOUT

HEARTBEAT_SECONDS = 0.2

T = TypeVar("T", bound=FrozenStruct)

_contents = msgspec.json.Decoder(CommandContent)


class ZoneKeys:
    """The private keys of a zone."""

    def __init__(self) -> None:
        self.report_key = Ed25519PrivateKey.generate()
        self.sealing_key = X25519PrivateKey.generate()

    @property
    def public(self) -> ZonePublicKeys:
        return ZonePublicKeys(
            report_key=self.report_key.public_key().public_bytes_raw(),
            sealing_key=self.sealing_key.public_key().public_bytes_raw(),
        )


class ClaimedJob(NamedTuple):
    task_id: str
    number: int


class ReceivedCommand(NamedTuple):
    """A key command, and what its response needs."""

    request: RunCommand
    command: KeyCommand
    reply_key: bytes
    not_after: datetime


class ScriptedHost:
    """A host of a workspace. ``order_key``: the public key that verifies the instructions of the engine."""

    def __init__(
        self, database: BusDatabase, keys: ZoneKeys, order_key: bytes, workspace_id: str, *, slots: int = 2
    ) -> None:
        self.name = f"host-{secrets.token_hex(4)}"
        self.keys = keys
        self.slots = slots
        self.instructions: list[Instruction] = []
        self._order_key = order_key
        self._workspace_id = workspace_id
        self._database = Database(database.agent)
        self._connection = BusConnection(self._database)
        self._app = build_app(self._database)
        self._processed: list[int] = []
        self._heartbeats: asyncio.Task[None] | None = None
        self._worker_id = 0
        self.draining = False

    async def start(self) -> None:
        await self._app.open_async()
        self._worker_id = await self._app.job_manager.register_worker()
        await self.execute(
            statements.REGISTER_HOST,
            {
                "name": self.name,
                "workspace": self._workspace_id,
                "hostname": "crypto.example",
                "version": "0",
                "slots": self.slots,
                "running_jobs": 0,
                "draining": False,
                "refused": "[]",
            },
        )
        self._heartbeats = asyncio.create_task(self._send_heartbeats())

    async def die(self) -> None:
        """Send no more heartbeats."""
        if self._heartbeats is not None:
            self._heartbeats.cancel()
            await asyncio.wait({self._heartbeats})
            self._heartbeats = None

    async def close(self) -> None:
        await self.die()
        await self._app.close_async()
        await self._connection.close()

    async def execute(self, statement: LiteralString, parameters: Mapping[str, Any] | None = None) -> Any:
        """Execute a statement, until the database can be reached."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                return await self._connection.execute(statement, parameters)
            except StorageError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    async def take(self, *, large: bool = False) -> ClaimedJob:
        """Take a job from the queue, without a report to the engine."""
        queues = queues_of(self._workspace_id)
        arguments = await self._fetch(queues.large if large else queues.small)
        assert arguments["workspace"] == self._workspace_id
        return ClaimedJob(arguments["task"], arguments["number"])

    async def claim(self, *, large: bool = False) -> ClaimedJob:
        job = await self.take(large=large)
        await self.send(JobClaimed(task_id=job.task_id, number=job.number))
        return job

    async def has_queued(self) -> bool:
        queues = list(queues_of(self._workspace_id))
        return bool((await self.execute(statements.COUNT_QUEUED, {"queues": queues}))[0][0])

    async def send(self, report: AgentReport) -> None:
        await self.insert_report(encode_message(report))

    async def report(self, message: Any, *, workspace_id: str = "", key: bytes | None = None) -> None:
        """Send a report of the worker. By default, it is signed with the key of the zone."""
        report = WorkerReport(workspace=workspace_id or self._workspace_id, message=message)
        signed = sign_worker_report(key or self.keys.report_key.private_bytes_raw(), report)
        await self.send(SignedReport(report=signed))

    async def insert_report(self, body: bytes) -> None:
        row = {"workspace": self._workspace_id, "host": self.name, "body": body}
        await self.execute(statements.INSERT_REPORT, row)
        await self.execute(statements.NOTIFY, {"channel": report_channel_of(self._workspace_id)})

    async def progress(self, job: ClaimedJob, done: int, total: int) -> None:
        row = {"workspace": self._workspace_id, "task": job.task_id, "fencing_token": job.number}
        await self.execute(statements.SAVE_PROGRESS, {**row, "done": done, "total": total})

    async def wait_for(self, kind: type[T]) -> T:
        """Return the next instruction, which must be of this kind."""
        deadline = time.monotonic() + TIMEOUT
        while not self.instructions:
            await self.receive()
            assert time.monotonic() < deadline, f"no instruction {kind.__name__}"
            await asyncio.sleep(0.02)
        message = self.instructions.pop(0).message
        assert isinstance(message, kind), message
        return message

    async def receive(self) -> None:
        """Read the instructions that have arrived."""
        rows = await self.execute(
            statements.READ_INSTRUCTIONS,
            {"workspace": self._workspace_id, "host": self.name, "processed": self._processed},
        )
        for n, body, signature in rows:
            self._processed.append(n)
            instruction = open_instruction(self._order_key, SignedMessage(body=body, signature=signature))
            assert (instruction.workspace, instruction.host) == (self._workspace_id, self.name)
            self.instructions.append(instruction)

    def open_order(self, message: SignedMessage) -> Order:
        order = open_order(self._order_key, message)
        assert order.workspace == self._workspace_id
        return order

    async def take_command(self) -> ReceivedCommand:
        arguments = await self._fetch(queues_of(self._workspace_id).commands)
        task = command_task_of(arguments["request_id"])
        [(body, signature)] = await self.execute(
            statements.READ_COMMAND, {"workspace": self._workspace_id, "task": task}
        )
        request = open_instruction(self._order_key, SignedMessage(body=body, signature=signature)).message
        assert isinstance(request, RunCommand)
        sealed = self.open_order(request.order).message
        assert isinstance(sealed, SealedCommand)
        content = _contents.decode(unseal(self.keys.sealing_key.private_bytes_raw(), sealed.ciphertext, COMMAND_INFO))
        return ReceivedCommand(request, content.command, content.reply_key, sealed.not_after)

    async def respond(self, received: ReceivedCommand, response: KeyResponse) -> None:
        ciphertext = seal(received.reply_key, encode_message(response), RESPONSE_INFO)
        await self.report(SealedResponse(request_id=received.request.request_id, ciphertext=ciphertext))

    async def _fetch(self, queue: str) -> dict[str, Any]:
        deadline = time.monotonic() + TIMEOUT
        while True:
            job = await self._app.job_manager.fetch_job(queues=[queue], worker_id=self._worker_id)
            if job is not None:
                return dict(job.task_kwargs)
            assert time.monotonic() < deadline, f"no job in {queue}"
            await asyncio.sleep(0.02)

    async def _send_heartbeats(self) -> None:
        while True:
            row = {"name": self.name, "running_jobs": 0, "draining": self.draining, "refused": "[]"}
            with suppress(StorageError):
                await self._connection.execute(statements.SEND_HOST_HEARTBEAT, row)
            await asyncio.sleep(HEARTBEAT_SECONDS)


@asynccontextmanager
async def running_host(
    database: BusDatabase, keys: ZoneKeys, order_key: bytes, workspace_id: str, *, slots: int = 2
) -> AsyncIterator[ScriptedHost]:
    host = ScriptedHost(database, keys, order_key, workspace_id, slots=slots)
    await host.start()
    try:
        yield host
    finally:
        await host.close()
