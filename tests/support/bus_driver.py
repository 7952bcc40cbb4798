"""Driver of a job bus with real workers, used like the scheduler uses the bus."""

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
    BuildSecretCreated,
    Heartbeat,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    SigningPermissionRequested,
    WorkerLost,
)
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT
from tests.support.worker_harness import NOW, PASSPHRASE, WorkerWorkspace

T = TypeVar("T")

END = JobFinished | JobFailed | JobStopped | WorkerLost


class ConstantClock:
    """A :class:`~sealyard.model.clock.Clock` with a constant time and a real sleep."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    def boot_id(self) -> str | None:
        return None

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class BusDriver:
    """Starts jobs on ``bus`` and reads its reports."""

    def __init__(self, bus: PipeBus) -> None:
        self.bus = bus
        self.received: list[Report] = []
        self._reports = bus.reports()

    async def start_job(self, job: Job, size: int | None = None) -> None:
        assert self.bus.reserve(job.task.id, job.task.total_bytes if size is None else size)
        await self.bus.prepare(job.task.id, job.task.fencing_token)
        await self.bus.run(job)

    async def next(self, *kinds: type[T]) -> T:
        """Return the next report of one of these kinds. Skips other reports, but fails if a job ends.

        Confirms every build secret.
        """
        while True:
            report = await anext(self._reports)
            self.received.append(report)
            if isinstance(report, BuildSecretCreated):
                await self.bus.confirm_build_secret(report.task_id, report.fencing_token)
            if isinstance(report, kinds):
                return report
            assert not isinstance(report, END), report

    async def wait_for_end(self) -> END:
        """Grant every signing permission requested, and return the report that ends a job."""
        while True:
            report: SigningPermissionRequested | END = await self.next(
                SigningPermissionRequested, JobFinished, JobFailed, JobStopped, WorkerLost
            )
            if not isinstance(report, SigningPermissionRequested):
                return report
            await self.bus.permit_signing(report.task_id, report.fencing_token, report.sha256)

    async def wait_for_heartbeat(self) -> None:
        await self.next(Heartbeat)


@asynccontextmanager
async def drive_bus(
    workspace: WorkerWorkspace, *, passphrase: str = PASSPHRASE, workers: int = 2
) -> AsyncIterator[BusDriver]:
    bus = PipeBus.open(unlock(passphrase), workspace.location, ConstantClock(), workers)
    try:
        yield BusDriver(bus)
    finally:
        for pid in bus.pids:
            # The bus may not have noticed yet that a worker was killed.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        await bus.close()


def run_within(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of a test with a timeout."""

    async def run_with_timeout() -> T:
        async with asyncio.timeout(TIMEOUT):
            return await work

    return asyncio.run(run_with_timeout())


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
