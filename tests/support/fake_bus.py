"""A fake job bus without workers. The test acts as the worker, step by step."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from sealyard.jobs.bus import LARGE_JOB_BYTES, Reattachment, Report
from sealyard.model.build_secrets import WrappedBuildSecret
from sealyard.model.clock import Clock
from sealyard.model.errors import SealyardError
from sealyard.model.grants import InputGrant, ResultGrant
from sealyard.model.key_commands import KeyCommand
from sealyard.model.key_holder_messages import EngineKeys, StoreGeneration
from sealyard.model.tasks import Task
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    Heartbeat,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyResponse,
    RecordedSegment,
    RefusedMeasure,
    SegmentEncrypted,
    SigningPermissionRequested,
    WorkerLost,
)
from sealyard.model.zone_status import ZoneStatus
from sealyard.storage.artifacts import ArtifactStore
from tests.support.in_memory_keys import InMemoryKeys

SMALL_SLOTS = 4


class FakeBus:
    """A :class:`sealyard.jobs.bus.JobBus` with four slots for small jobs and one for a large one."""

    def __init__(self, keys: InMemoryKeys, clock: Clock) -> None:
        self.start_error: SealyardError | None = None
        """Raised when a worker is started."""
        self.send_error: SealyardError | None = None
        """What keeps a job from being handed over."""
        self.confirms_stops = False
        """Whether workers stop as soon as they are asked to."""
        self.small_slots = SMALL_SLOTS
        self.places: dict[str, bool] = {}
        self.jobs: dict[str, Job] = {}
        self.prepared: dict[str, int] = {}
        """Fencing tokens by task id, as given to :meth:`prepare`."""
        self.change_capacity: Callable[[], None] = lambda: None
        """Set by the engine; reports that slots are free."""
        self.confirmed_secrets: list[tuple[str, int]] = []
        self.permits: list[tuple[str, int]] = []
        self.grants: list[tuple[str, int, tuple[InputGrant, ...], ResultGrant | None]] = []
        self.input_grants: dict[str, tuple[InputGrant, ...]] = {}
        self.acknowledged: list[Report] = []
        self.is_remote = False
        self.reattachments: dict[str, Reattachment] = {}
        """By task id, what :meth:`reattach` returns."""
        self.claim_gate: asyncio.Event | None = None
        """Workers are ready after this event if it is set."""
        self.stops: list[str] = []
        self.commands: list[KeyCommand] = []
        self.zone: ZoneStatus | None = None
        self.drained_hosts: list[str] = []
        self.closed = False
        self.refused_measures: tuple[RefusedMeasure, ...] = ()
        self.gate: asyncio.Event | None = None
        """Key requests wait for this event if it is set."""
        self._keys = keys
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

    def on_capacity_changed(self, callback: Callable[[], None]) -> None:
        self.change_capacity = callback

    async def prepare(self, task_id: str, fencing_token: int) -> str:
        assert task_id in self.places
        self.prepared[task_id] = fencing_token
        if self.claim_gate is not None:
            await self.claim_gate.wait()
        if self.start_error is not None:
            raise self.start_error
        return "worker-1"

    def release(self, task_id: str) -> None:
        del self.places[task_id]

    async def run(self, job: Job, inputs: tuple[InputGrant, ...] = ()) -> None:
        assert job.task.id in self.places
        if self.send_error is not None:
            raise self.send_error
        self.input_grants[job.task.id] = inputs
        self.jobs[job.task.id] = job

    async def confirm_build_secret(self, task_id: str, fencing_token: int) -> None:
        self.confirmed_secrets.append((task_id, fencing_token))

    async def reattach(self, task: Task) -> Reattachment:
        reattachment = self.reattachments.get(task.id, Reattachment.LOST)
        if reattachment is not Reattachment.LOST:
            self.places[task.id] = task.total_bytes >= LARGE_JOB_BYTES
        return reattachment

    async def issue_grants(
        self, task_id: str, fencing_token: int, inputs: tuple[InputGrant, ...], result: ResultGrant | None
    ) -> None:
        self.grants.append((task_id, fencing_token, inputs, result))

    async def permit_signing(self, task_id: str, fencing_token: int, sha256: str) -> None:
        self.permits.append((task_id, fencing_token))

    async def stop(self, task_id: str) -> None:
        """Record the request; the test reports what the worker does, unless workers confirm stops."""
        if task_id not in self.jobs:
            return
        self.stops.append(task_id)
        if self.confirms_stops:
            self.report(JobStopped(task_id=task_id, fencing_token=self.jobs[task_id].task.fencing_token))

    async def get_engine_keys(self) -> EngineKeys:
        return self._keys.engine_keys

    async def update_store_generation(self, generation: StoreGeneration | None) -> StoreGeneration | None:
        return self._keys.update_store_generation(generation)

    async def request(self, command: KeyCommand) -> KeyResponse:
        self.commands.append(command)
        if self.start_error is not None:
            raise self.start_error
        response = self._keys.respond(command)
        if self.gate is not None:
            await self.gate.wait()
        return response

    async def reports(self) -> AsyncIterator[Report]:
        while True:
            yield await self._reports.get()

    def acknowledge(self, report: Report) -> None:
        self.acknowledged.append(report)

    async def zone_status(self) -> ZoneStatus | None:
        return self.zone

    async def drain_host(self, name: str) -> None:
        self.drained_hosts.append(name)

    async def close(self) -> None:
        self.closed = True

    def report(self, report: Report) -> None:
        if isinstance(report, JobFinished | JobFailed | JobStopped | WorkerLost):
            self.places.pop(report.task_id, None)
            self.jobs.pop(report.task_id, None)
        self._reports.put_nowait(report)


class FakeWorker:
    """Sends the reports of a worker that runs one job."""

    def __init__(self, bus: FakeBus, job: Job, artifacts: ArtifactStore, clock: Clock) -> None:
        self.job = job
        self.id = job.task.id
        self.fencing_token = job.task.fencing_token
        self.header = base64.b64encode(f"header of {self.id}".encode()).decode()
        self._bus = bus
        self._artifacts = artifacts
        self._clock = clock

    @property
    def permitted(self) -> bool:
        return (self.id, self.fencing_token) in self._bus.permits

    @property
    def has_build_secret(self) -> bool:
        """Whether the engine has confirmed the build secret."""
        return (self.id, self.fencing_token) in self._bus.confirmed_secrets

    @property
    def was_cancelled(self) -> bool:
        return self.id in self._bus.stops

    def send_heartbeat(self, done: int, total: int) -> None:
        self._bus.report(Heartbeat(task_id=self.id, fencing_token=self.fencing_token, done=done, total=total))

    def create_build_secret(self) -> WrappedBuildSecret:
        secret = WrappedBuildSecret(wrapped="AAAA", format=self.job.task.format or "file", revision=self.fencing_token)
        self._bus.report(BuildSecretCreated(task_id=self.id, fencing_token=self.fencing_token, secret=secret))
        return secret

    def encrypt_segment(self, index: int) -> RecordedSegment:
        segment = RecordedSegment(
            index=index,
            length=32,
            sha256=hashlib.sha256(bytes([index])).hexdigest(),
            plaintext_sha256=self.job.task.inputs[index].sha256,
        )
        self._bus.report(SegmentEncrypted(task_id=self.id, fencing_token=self.fencing_token, segment=segment))
        return segment

    def request_signing(self, content: bytes = b"the header") -> None:
        sha256 = hashlib.sha256(content).hexdigest()
        header = self.header if self.job.task.format else None
        self._bus.report(
            SigningPermissionRequested(task_id=self.id, fencing_token=self.fencing_token, sha256=sha256, header=header)
        )

    def finish(self, content: bytes = b"a container") -> None:
        """Write ``content`` as the output of the job, and report the job as finished."""
        name = "container" if self.job.task.format else "encrypted"
        self.output_path(name).write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest()
        self._bus.report(
            JobFinished(task_id=self.id, fencing_token=self.fencing_token, sha256=sha256, size=len(content))
        )

    def output_path(self, name: str) -> Path:
        return self._artifacts.work_dir(self.id) / name

    def finish_without_a_file(self) -> None:
        self._bus.report(JobFinished(task_id=self.id, fencing_token=self.fencing_token, sha256="00" * 32, size=3))

    def finish_signature(self, signature: bytes = b"signed") -> None:
        text = base64.b64encode(signature).decode()
        self._bus.report(JobFinished(task_id=self.id, fencing_token=self.fencing_token, signature=text))

    def fail(self, error: SealyardError) -> None:
        self._bus.report(JobFailed(task_id=self.id, fencing_token=self.fencing_token, error=error.to_info()))

    def stop(self) -> None:
        self._bus.report(JobStopped(task_id=self.id, fencing_token=self.fencing_token))

    def crash(self, reason: str = "", *, is_interrupted: bool = False) -> None:
        """Report that the worker is lost. See :class:`WorkerLost`."""
        report = WorkerLost(
            worker="worker-1",
            task_id=self.id,
            fencing_token=self.fencing_token,
            at=self._clock.now(),
            reason=reason,
            is_interrupted=is_interrupted,
        )
        self._bus.report(report)
