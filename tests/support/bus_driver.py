"""A bus with real workers, driven as the scheduler does it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sealyard.jobs.bus import Report
from sealyard.jobs.pipe_bus import PipeBus
from sealyard.model.worker_messages import (
    Heartbeat,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    OpenKeyStore,
    SigningPermissionRequested,
    WorkerLost,
)
from tests.support.worker_harness import NOW, WorkerWorkspace

T = TypeVar("T")

WAIT_SECONDS = 30.0
END = JobFinished | JobFailed | JobStopped | WorkerLost


class SystemTimeClock:
    """A :class:`~sealyard.model.clock.Clock` that stands."""

    def now(self) -> datetime:
        return NOW

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class BusDriver:
    """``bus``, and its reports as they come."""

    def __init__(self, bus: PipeBus) -> None:
        self.bus = bus
        self.heard: list[Report] = []
        self._reports = bus.reports()

    async def start_job(self, job: Job, size: int | None = None) -> None:
        assert self.bus.reserve(job.task.id, job.task.total_bytes if size is None else size)
        await self.bus.prepare(job.task.id)
        await self.bus.run(job)

    async def next(self, *kinds: type[T]) -> T:
        """The next report of one of these kinds; others are passed over, an end of a job is not."""
        while True:
            report = await anext(self._reports)
            self.heard.append(report)
            if isinstance(report, kinds):
                return report
            assert not isinstance(report, END), report

    async def wait_for_end(self) -> END:
        """Gives every leave that is asked for, until some job ends."""
        while True:
            report: SigningPermissionRequested | END = await self.next(
                SigningPermissionRequested, JobFinished, JobFailed, JobStopped, WorkerLost
            )
            if not isinstance(report, SigningPermissionRequested):
                return report
            await self.bus.permit_signing(report.task_id, report.fencing_token)

    async def wait_for_heartbeat(self) -> None:
        await self.next(Heartbeat)


@asynccontextmanager
async def drive_bus(
    house: WorkerWorkspace, *, unlock: OpenKeyStore | None = None, workers: int = 2
) -> AsyncIterator[BusDriver]:
    bus = PipeBus(unlock or house.key_store_request, house.places.worker_log, SystemTimeClock(), workers)
    try:
        yield BusDriver(bus)
    finally:
        for pid in bus.pids:
            # One that was killed may not have been missed yet.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        await bus.close()


def run_within(work: Coroutine[Any, Any, T]) -> T:
    """A test's coroutine, with an end to waiting."""

    async def within() -> T:
        async with asyncio.timeout(WAIT_SECONDS):
            return await work

    return asyncio.run(within())


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
