"""An agent that a test controls: it has the role of agents in the bus database, but no keys of the zone."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import msgspec

from sealyard.crypto.signed_messages import MessageLabel, sign_message
from sealyard.model.tasks import Task
from sealyard.model.worker_messages import JobFinished, SigningPermissionRequested
from sealyard.model.zone_messages import (
    AgentReport,
    Instruction,
    IssueGrants,
    JobClaimed,
    SignedReport,
    StartJob,
    WorkerReport,
)
from tests.support.bus_database import BUS_AGENT, BusDatabase
from tests.support.server_harness import wait_until

T = TypeVar("T")
FOREIGN_KEY = bytes(range(32))
"""A report key that is not that of the zone."""


class BreachedAgent:
    """A registered agent, which sends heartbeats while the block of `async with` runs."""

    def __init__(self, bus: BusDatabase, workspace_id: str, name: str = "breached") -> None:
        self.name = name
        self._bus = bus
        self._workspace_id = workspace_id
        self._heartbeats: asyncio.Task[None] | None = None

    async def __aenter__(self) -> BreachedAgent:
        await self._execute(
            "INSERT INTO bus.host (name, workspace, hostname, version, slots) VALUES (%s, %s, 'host', '1', 2)",
            self.name,
            self._workspace_id,
        )
        self._heartbeats = asyncio.create_task(self._send_heartbeats())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._heartbeats is not None
        self._heartbeats.cancel()

    async def claim(self, task: Task, *, number: int = 1) -> StartJob:
        """Claim the job of a task, and return the instruction that starts it."""
        query = "SELECT count(*) FROM public.procrastinate_jobs WHERE args->>'task' = %s"

        async def is_queued() -> bool:
            return await self._execute(query, task.id) == [(1,)]

        await wait_until(is_queued, "the job is queued")
        await self.send(JobClaimed(task_id=task.id, number=number))
        return await self.receive(StartJob)

    async def send(self, report: AgentReport) -> None:
        body = msgspec.json.encode(report)
        await self._execute(
            "INSERT INTO bus.report (workspace, host, body) VALUES (%s, %s, %s)", self._workspace_id, self.name, body
        )

    async def forge(self, message: SigningPermissionRequested | JobFinished, *, key: bytes = FOREIGN_KEY) -> None:
        """Send a report of a worker, signed with a key that is not that of the zone."""
        report = WorkerReport(workspace=self._workspace_id, message=message)
        await self.send(SignedReport(report=sign_message(key, MessageLabel.REPORT, msgspec.json.encode(report))))

    async def receive(self, kind: type[T]) -> T:
        """Wait for an instruction of this kind, and return the newest one."""

        async def find() -> T | None:
            return next((each for each in reversed(await self.list_instructions()) if isinstance(each, kind)), None)

        message: T = await wait_until(find, kind.__name__)
        return message

    async def list_instructions(self) -> list[object]:
        rows = await self._execute("SELECT body FROM bus.instruction WHERE host = %s ORDER BY n", self.name)
        return [msgspec.json.decode(body, type=Instruction).message for (body,) in rows]

    async def list_grants(self) -> list[IssueGrants]:
        return [each for each in await self.list_instructions() if isinstance(each, IssueGrants)]

    async def wait_until_handled(self) -> None:
        """Wait until the engine has handled and deleted all reports."""

        async def is_empty() -> bool:
            return await asyncio.to_thread(self._bus.execute, "SELECT count(*) FROM bus.report") == [(0,)]

        await wait_until(is_empty, "all reports are handled")

    async def _send_heartbeats(self) -> None:
        while True:
            await self._execute("UPDATE bus.host SET seen_at = clock_timestamp() WHERE name = %s", self.name)
            await asyncio.sleep(1)

    async def _execute(self, statement: str, *parameters: object) -> list[Any]:
        return await asyncio.to_thread(self._bus.server.execute, statement, self._bus.name, parameters, role=BUS_AGENT)
