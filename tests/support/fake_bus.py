"""A bus without workers: the test plays the worker, step by step."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

from sealyard.jobs.bus import LARGE_JOB_BYTES, Report
from sealyard.model.clock import Clock
from sealyard.model.errors import SealyardError
from sealyard.model.worker_messages import (
    Heartbeat,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyCommand,
    KeyResponse,
    RecordedSegment,
    SegmentEncrypted,
    SigningPermissionRequested,
    WorkerLost,
)
from sealyard.storage.artifacts import ArtifactStore
from tests.support.in_memory_keys import InMemoryKeys

SMALL_SLOTS = 4


class FakeBus:
    """See :class:`sealyard.jobs.bus.JobBus`: four places for small jobs and one for a large one."""

    def __init__(self, shelf: InMemoryKeys, clock: Clock) -> None:
        self.start_error: SealyardError | None = None
        """What keeps workers from starting."""
        self.send_error: SealyardError | None = None
        """What keeps a job from being handed over."""
        self.confirms_stops = False
        """Whether workers stop as soon as they are asked to."""
        self.small_slots = SMALL_SLOTS
        self.places: dict[str, bool] = {}
        self.jobs: dict[str, Job] = {}
        self.permits: list[tuple[str, int]] = []
        self.stops: list[str] = []
        self.asked: list[KeyCommand] = []
        self.gate: asyncio.Event | None = None
        """Questions wait for it, where there is one."""
        self._shelf = shelf
        self._clock = clock
        self._reports: asyncio.Queue[Report] = asyncio.Queue()

    @property
    def pids(self) -> tuple[int, ...]:
        return ()

    def reserve(self, task_id: str, size: int, *, large_job_waiting: bool = False) -> bool:
        large = size >= LARGE_JOB_BYTES
        if list(self.places.values()).count(large) >= (1 if large else self.small_slots):
            return False
        self.places[task_id] = large
        return True

    async def prepare(self, task_id: str) -> str:
        assert task_id in self.places
        if self.start_error is not None:
            raise self.start_error
        return "worker-1"

    def release(self, task_id: str) -> None:
        del self.places[task_id]

    async def run(self, job: Job) -> None:
        assert job.task.id in self.places
        if self.send_error is not None:
            raise self.send_error
        self.jobs[job.task.id] = job

    async def permit_signing(self, task_id: str, fence: int) -> None:
        self.permits.append((task_id, fence))

    async def stop(self, task_id: str) -> None:
        """Record the request; the test reports what the worker does, unless workers confirm stops."""
        if task_id not in self.jobs:
            return
        self.stops.append(task_id)
        if self.confirms_stops:
            self.report(JobStopped(task_id=task_id, fencing_token=self.jobs[task_id].task.fencing_token))

    async def request(self, question: KeyCommand) -> KeyResponse:
        self.asked.append(question)
        if self.start_error is not None:
            raise self.start_error
        answer = self._shelf.respond(question)
        if self.gate is not None:
            await self.gate.wait()
        return answer

    async def reports(self) -> AsyncIterator[Report]:
        while True:
            yield await self._reports.get()

    async def close(self) -> None:
        return None

    def report(self, report: Report) -> None:
        if isinstance(report, JobFinished | JobFailed | JobStopped | WorkerLost):
            self.places.pop(report.task_id, None)
            self.jobs.pop(report.task_id, None)
        self._reports.put_nowait(report)


class FakeWorker:
    """Speaks for the worker that has one job."""

    def __init__(self, bus: FakeBus, job: Job, artifacts: ArtifactStore, clock: Clock) -> None:
        self.job = job
        self.id = job.task.id
        self.fence = job.task.fencing_token
        self.header = base64.b64encode(f"header of {self.id}".encode()).decode()
        self._bus = bus
        self._artifacts = artifacts
        self._clock = clock

    @property
    def permitted(self) -> bool:
        return (self.id, self.fence) in self._bus.permits

    @property
    def was_cancelled(self) -> bool:
        return self.id in self._bus.stops

    def send_heartbeat(self, done: int, total: int) -> None:
        self._bus.report(Heartbeat(task_id=self.id, fencing_token=self.fence, done=done, total=total))

    def encrypt_segment(self, index: int) -> RecordedSegment:
        segment = RecordedSegment(
            index=index,
            length=32,
            sha256=hashlib.sha256(bytes([index])).hexdigest(),
            plaintext_sha256=self.job.task.inputs[index].sha256,
        )
        self._bus.report(SegmentEncrypted(task_id=self.id, fencing_token=self.fence, segment=segment))
        return segment

    def request_signing(self, about: bytes = b"the header") -> None:
        sha256 = hashlib.sha256(about).hexdigest()
        header = self.header if self.job.task.format else None
        self._bus.report(
            SigningPermissionRequested(task_id=self.id, fencing_token=self.fence, sha256=sha256, header=header)
        )

    def finish(self, content: bytes = b"a container") -> None:
        """Leaves ``content`` where a worker leaves its product."""
        name = "container" if self.job.task.format else "encrypted"
        self.output_path(name).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        self._bus.report(JobFinished(task_id=self.id, fencing_token=self.fence, sha256=sha256, size=len(content)))

    def output_path(self, name: str) -> Path:
        return self._artifacts.work_dir(self.id) / name

    def finish_without_a_file(self) -> None:
        self._bus.report(JobFinished(task_id=self.id, fencing_token=self.fence, sha256="00" * 32, size=3))

    def finish_signature(self, signature: bytes = b"signed") -> None:
        text = base64.b64encode(signature).decode()
        self._bus.report(JobFinished(task_id=self.id, fencing_token=self.fence, signature=text))

    def fail(self, error: SealyardError) -> None:
        self._bus.report(JobFailed(task_id=self.id, fencing_token=self.fence, error=error.to_info()))

    def stop(self) -> None:
        self._bus.report(JobStopped(task_id=self.id, fencing_token=self.fence))

    def crash(self) -> None:
        lost = WorkerLost(worker="worker-1", task_id=self.id, fencing_token=self.fence, at=self._clock.now())
        self._bus.report(lost)
