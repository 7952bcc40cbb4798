"""The server side of a crypto zone for tests: buses of consecutive engines of one workspace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import UNSET

from sealyard.concurrency.clock import SystemClock
from sealyard.jobs.bus import Report
from sealyard.jobs.pipe_bus import PipeBus
from sealyard.jobs.zone.bus import ZoneBus
from sealyard.model.tasks import Task
from sealyard.model.worker_messages import Heartbeat, Job, JobCheckpoint
from sealyard.model.zones import ZoneSettings
from tests.support.bus_database import ZONE, BusDatabase
from tests.support.factories.tasks import running
from tests.support.fake_bus import FakeBus
from tests.support.in_memory_keys import InMemoryKeys
from tests.support.limits import TIMEOUT
from tests.support.scripted_host import ScriptedHost, ZoneKeys, running_host

WORKSPACE = "0123456789abcdef"

T = TypeVar("T")


class Engine:
    """Uses a bus like the scheduler of an engine."""

    def __init__(self, bus: ZoneBus, local: FakeBus) -> None:
        self.bus = bus
        self.local = local
        self.reports = bus.reports()

    async def next(self, *kinds: type[T]) -> T:
        """Return the next report, which must be of one of these kinds. Skips heartbeats that are not wanted."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                report: Report = await anext(self.reports)
                if isinstance(report, kinds):
                    return report
                assert isinstance(report, Heartbeat), report

    async def reserve(self, task: Task) -> None:
        """Wait until the zone has room for the task."""
        async with asyncio.timeout(TIMEOUT):
            while not self.bus.reserve(task.id, task.total_bytes):
                await asyncio.sleep(0.02)

    async def lease(self, task: Task, host: ScriptedHost) -> str:
        """Let the host claim a job, and return the name of the worker."""
        await self.reserve(task)
        prepare = asyncio.create_task(self.bus.prepare(task.id, task.fencing_token))
        await host.claim()
        return await prepare

    async def start(self, task: Task, host: ScriptedHost) -> Task:
        """Let the host claim and start a job, and return the leased task."""
        worker = await self.lease(task, host)
        leased = msgspec.structs.replace(task, worker=worker)
        await self.bus.run(Job(task=leased, checkpoint=JobCheckpoint(task_id=task.id)))
        return leased

    async def wait_written(self) -> None:
        """Wait until the term of the engine has begun, and all its changes are committed."""
        async with asyncio.timeout(TIMEOUT):
            while self.bus._writer._term is None:
                await asyncio.sleep(0.02)
        await self.bus._writer.wait_written(TIMEOUT)


class ZoneHarness:
    def __init__(self, database: BusDatabase) -> None:
        self.database = database
        self.keys = ZoneKeys()
        self._memory = InMemoryKeys("test", SystemClock())
        order_key = Ed25519PrivateKey.from_private_bytes(self._memory.engine_keys.order_key)
        self.order_key = order_key.public_key().public_bytes_raw()

    @asynccontextmanager
    async def engine(self, *, admitted: bool = True, closes: bool = True) -> AsyncIterator[Engine]:
        """Open the bus of an engine. ``closes``: whether it is closed; otherwise the engine dies."""
        local = FakeBus(self._memory, SystemClock())
        settings = ZoneSettings(name=ZONE, bus=self.database.engine, keys=self.keys.public if admitted else UNSET)
        bus = ZoneBus.open(settings, WORKSPACE, cast("PipeBus", local), SystemClock())
        try:
            yield Engine(bus, local)
        finally:
            if closes:
                await bus.close()
            else:
                await kill(bus)

    @asynccontextmanager
    async def host(self, *, slots: int = 2) -> AsyncIterator[ScriptedHost]:
        async with running_host(self.database, self.keys, self.order_key, WORKSPACE, slots=slots) as host:
            yield host


async def kill(bus: ZoneBus) -> None:
    """End everything that the bus does, as the death of its process would."""
    for task in bus._tasks:
        task.cancel()
    await asyncio.gather(*bus._tasks, return_exceptions=True)
    await bus._writer_connection.close()
    await bus._reader_connection.close()


def make_task(name: str = "t1", *, number: int = 1, size: int = 6) -> Task:
    """Return a task as it is leased. ``size``: the number of bytes of all its inputs."""
    task = running()
    inputs = tuple(
        msgspec.structs.replace(each, size=size if index == 0 else 0) for index, each in enumerate(task.inputs)
    )
    return msgspec.structs.replace(task, id=name, fencing_token=number, inputs=inputs)
