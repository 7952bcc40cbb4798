"""The job bus for a single machine: the key holder starts crypto workers, one in each worker slot.

A slot runs either one large job or many small ones. The first slot never runs large jobs, so that small jobs do not
have to wait for a large one. A worker is started when its slot has work, and replaced after it has exited.

A worker that has running jobs and sends nothing for the length of its lease is killed. The bus reports the jobs of a
worker as lost only after the worker has exited, so that two workers never write to the same files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Self

from sealyard.concurrency.active_time import sleep_active, wait_active
from sealyard.concurrency.threads import run_uncancellable
from sealyard.jobs.bus import LARGE_JOB_BYTES, Reattachment, Report
from sealyard.jobs.key_holder import KeyHolder, KeyHolderFactory
from sealyard.jobs.worker_process import WorkerProcess
from sealyard.model.clock import Clock
from sealyard.model.errors import KeyStoreLockedError, SealyardError, WorkerError, error_from_info
from sealyard.model.grants import InputGrant, ResultGrant
from sealyard.model.key_holder_messages import EngineKeys, KeyStoreLocation, StoreGeneration
from sealyard.model.tasks import Task
from sealyard.model.worker_messages import (
    AuditPublicKey,
    BuildSecretRecorded,
    DescribeKey,
    FromWorker,
    GetSignedCheckpoint,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyCommand,
    KeyRequest,
    KeyResponse,
    ListBackendKeys,
    ProbeEncryptionKey,
    ProbeProviders,
    ProbeSigningKey,
    RefusedMeasure,
    RegisterKey,
    RunJob,
    SignCheckpoint,
    SigningPermitted,
    StopJob,
    WorkerLost,
    WorkerReady,
    WorkerStartFailed,
)
from sealyard.model.workspace import WorkspacePaths
from sealyard.model.zone_status import ZoneStatus

MAX_SMALL_JOBS = 32
"""Maximum number of small jobs that one worker runs at a time."""

LEASE_SECONDS = 10.0
"""Time in seconds after which a worker that has running jobs but sends nothing is killed."""

REQUEST_TIMEOUT = 60.0
"""Time in seconds that a worker has to respond to a request."""

STOP_TIMEOUT = 5.0
"""Time in seconds that a worker has to stop a task, or to exit after its pipe was closed, before it is killed."""

IDEMPOTENT_COMMANDS = (
    AuditPublicKey
    | GetSignedCheckpoint
    | SignCheckpoint
    | DescribeKey
    | RegisterKey
    | ListBackendKeys
    | ProbeProviders
    | ProbeSigningKey
    | ProbeEncryptionKey
)
"""Commands that can safely be executed twice. The bus retries them once if the worker exits without a response."""

_RESERVATION_TOKEN = 0
"""Used instead of a fencing token for a job that has a slot but is not running yet."""

log = logging.getLogger(__name__)


class _WorkerSlot:
    """A slot for one worker process, with the jobs assigned to it.

    ``jobs``: fencing tokens by task id. ``has_large_job``: whether one of the jobs is large. ``silent_seconds``: how
    long the worker has sent no message, without the time during which this process was suspended.
    """

    def __init__(self) -> None:
        self.process: WorkerProcess | None = None
        self.jobs: dict[str, int] = {}
        self.has_large_job = False
        self.silent_seconds = 0.0
        self.request_ids: set[int] = set()
        self.start_lock = asyncio.Lock()

    def remove_job(self, task_id: str) -> None:
        self.jobs.pop(task_id, None)
        self.has_large_job = self.has_large_job and bool(self.jobs)

    @property
    def running_jobs(self) -> dict[str, int]:
        return {task_id: token for task_id, token in self.jobs.items() if token != _RESERVATION_TOKEN}


class PipeBus:
    """Implements :class:`sealyard.jobs.bus.JobBus` on one machine. All calls must be made on one event loop.

    ``key_holder`` starts the workers; without it, none can be started. ``log_path``: the file that receives the
    standard error output of the workers. ``workers``: the number of slots, raised to two if smaller.
    ``owns_key_holder``: whether :meth:`close` closes the key holder too.
    """

    def __init__(
        self,
        key_holder: KeyHolder | None,
        log_path: Path,
        clock: Clock,
        workers: int = 2,
        *,
        owns_key_holder: bool = False,
    ) -> None:
        self._owns_key_holder = owns_key_holder
        self._key_holder = key_holder
        self._log_path = log_path
        self._clock = clock
        self._slots = [_WorkerSlot() for _ in range(max(2, workers))]
        self._reports: asyncio.Queue[Report] = asyncio.Queue()
        self._response_futures: dict[int, asyncio.Future[KeyResponse | None]] = {}
        self._last_request_id = 0
        self._refused_measures: tuple[RefusedMeasure, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @classmethod
    def open(
        cls, key_holder: KeyHolder | KeyHolderFactory, location: KeyStoreLocation, clock: Clock, workers: int
    ) -> Self:
        """Create the bus. If ``key_holder`` is a function, it starts the key holder, which the bus then owns."""
        log_path = WorkspacePaths(Path(location.workspace)).worker_log
        if isinstance(key_holder, KeyHolder):
            return cls(key_holder, log_path, clock, workers)
        return cls(key_holder(location), log_path, clock, workers, owns_key_holder=True)

    @property
    def is_remote(self) -> bool:
        return False

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the running workers."""
        return tuple(slot.process.pid for slot in self._slots if slot.process is not None)

    @property
    def refused_measures(self) -> tuple[RefusedMeasure, ...]:
        return self._refused_measures

    # ---- jobs

    def reserve(self, task_id: str, size: int, *, large_job_waiting: bool = False) -> bool:
        slot = (
            self._find_slot_for_large_job()
            if size >= LARGE_JOB_BYTES
            else self._find_slot_for_small_job(large_job_waiting)
        )
        if slot is None:
            return False
        slot.jobs[task_id] = _RESERVATION_TOKEN
        slot.has_large_job = size >= LARGE_JOB_BYTES
        return True

    async def prepare(self, task_id: str) -> str:
        return (await self._ensure_worker(self._find_slot(task_id))).name

    def release(self, task_id: str) -> None:
        self._find_slot(task_id).remove_job(task_id)

    async def run(self, job: Job, inputs: tuple[InputGrant, ...] = ()) -> None:
        assert not inputs
        task_id, fencing_token = job.task.id, job.task.fencing_token
        slot = self._find_slot(task_id)
        try:
            process = await self._ensure_worker(slot)
        except SealyardError as error:
            # The worker that prepare() started has exited in the meantime, and no other worker could be started.
            log.warning("could not start a crypto worker for task %s: %s", task_id, error)
            slot.remove_job(task_id)
            self._report_lost_job("", task_id, fencing_token)
            return
        if not slot.running_jobs:
            slot.silent_seconds = 0.0
        slot.jobs[task_id] = fencing_token
        await process.send(RunJob(job=job))

    async def confirm_build_secret(self, task_id: str, fencing_token: int) -> None:
        await self._answer(BuildSecretRecorded(task_id=task_id, fencing_token=fencing_token))

    async def permit_signing(self, task_id: str, fencing_token: int, sha256: str) -> None:
        await self._answer(SigningPermitted(task_id=task_id, fencing_token=fencing_token, sha256=sha256))

    async def _answer(self, message: BuildSecretRecorded | SigningPermitted) -> None:
        """Send a message that the worker of a job waits for.

        Does nothing if the worker has exited; a :class:`WorkerLost` report follows.
        """
        slot = next(
            (slot for slot in self._slots if slot.running_jobs.get(message.task_id) == message.fencing_token), None
        )
        if slot is not None and slot.process is not None:
            await slot.process.send(message)

    async def stop(self, task_id: str) -> None:
        slot = next((slot for slot in self._slots if task_id in slot.running_jobs), None)
        if slot is None or slot.process is None:
            return
        self._spawn(self._kill_if_busy(slot, slot.process, task_id, slot.jobs[task_id]))
        await slot.process.send(StopJob(task_id=task_id))

    async def reattach(self, task: Task) -> Reattachment:  # noqa: ARG002 - its workers end with the engine
        return Reattachment.LOST

    async def issue_grants(
        self, task_id: str, fencing_token: int, inputs: tuple[InputGrant, ...], result: ResultGrant | None
    ) -> None:
        raise NotImplementedError

    async def reports(self) -> AsyncIterator[Report]:
        while True:
            yield await self._reports.get()

    def acknowledge(self, report: Report) -> None:
        """Do nothing: reports are not repeated."""

    async def zone_status(self) -> ZoneStatus | None:
        return None

    async def drain_host(self, name: str) -> None:
        raise NotImplementedError

    # ---- requests

    async def get_engine_keys(self) -> EngineKeys:
        return await self._require_key_holder().get_engine_keys()

    async def update_store_generation(self, generation: StoreGeneration | None) -> StoreGeneration | None:
        return await self._require_key_holder().update_store_generation(generation)

    async def request(self, command: KeyCommand) -> KeyResponse:
        response = await self._request_once(command)
        if response is None and isinstance(command, IDEMPOTENT_COMMANDS):
            response = await self._request_once(command)
        if response is None:
            raise WorkerError("The crypto worker exited before it responded.", "Try again, or see the worker log.")
        if response.error is not None:
            raise error_from_info(response.error)
        return response

    async def _request_once(self, command: KeyCommand) -> KeyResponse | None:
        """Send ``command`` to the least busy worker. Returns None if the worker exits without a response.

        Raises :class:`WorkerError` if the worker does not respond in time.
        """
        slot = min(self._slots, key=lambda slot: (slot.process is None, slot.has_large_job, len(slot.jobs)))
        process = await self._ensure_worker(slot)
        self._last_request_id += 1
        request_id = self._last_request_id
        self._response_futures[request_id] = asyncio.get_running_loop().create_future()
        slot.request_ids.add(request_id)
        try:
            await process.send(KeyRequest(request_id=request_id, command=command))
            if await wait_active(self._response_futures[request_id], REQUEST_TIMEOUT):
                return self._response_futures[request_id].result()
            if not slot.running_jobs:
                # A worker with running jobs is killed when its lease expires. An idle worker has no lease, so kill it
                # here.
                process.kill()
            raise WorkerError("The crypto worker did not respond.", f"Check its log, {self._log_path}, then try again.")
        finally:
            slot.request_ids.discard(request_id)
            del self._response_futures[request_id]

    async def close(self) -> None:
        """Close the pipes of all workers and wait until they have exited. Kills workers that do not exit in time.

        No worker is started after this call.
        """
        self._closed = True
        for slot in self._slots:
            # Wait for a worker that is being started: it must not outlive the bus.
            async with slot.start_lock:
                if slot.process is not None:
                    slot.process.close_pipe()
        for slot in self._slots:
            if (process := slot.process) is not None:
                await process.wait_exit(STOP_TIMEOUT)
                # Resolve the open requests to this worker, and report its jobs as lost.
                self._on_worker_exit(slot, process)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._key_holder is not None:
            self._key_holder.release_worker_state()
            if self._owns_key_holder:
                await run_uncancellable(self._key_holder.close)

    # ---- slots

    def _find_slot_for_small_job(self, large_job_waiting: bool) -> _WorkerSlot | None:
        slots = self._slots[:1] if large_job_waiting else self._slots
        candidates = [slot for slot in slots if not slot.has_large_job and len(slot.jobs) < MAX_SMALL_JOBS]
        return min(
            candidates, key=lambda slot: (slot.process is None and bool(slot.jobs), len(slot.jobs)), default=None
        )

    def _find_slot_for_large_job(self) -> _WorkerSlot | None:
        """Return an empty slot other than the first one, which is reserved for small jobs."""
        return next((slot for slot in self._slots[1:] if not slot.jobs), None)

    def _find_slot(self, task_id: str) -> _WorkerSlot:
        return next(slot for slot in self._slots if task_id in slot.jobs)

    async def _ensure_worker(self, slot: _WorkerSlot) -> WorkerProcess:
        async with slot.start_lock:
            if self._closed:
                raise WorkerError("Cannot start a crypto worker: the engine is closing.", "Open the workspace again.")
            if slot.process is None:
                slot.process = await WorkerProcess.start(self._require_key_holder(), self._log_path)
                slot.silent_seconds = 0.0
                self._note_refused_measures(slot.process.refused_measures)
                self._spawn(self._receive_messages(slot, slot.process))
                self._spawn(self._watch_lease(slot, slot.process))
            return slot.process

    def _note_refused_measures(self, refused: tuple[RefusedMeasure, ...]) -> None:
        """Log the refused measures, once for all workers, because the kernel is the same for all."""
        for measure in refused if refused != self._refused_measures else ():
            log.warning("the crypto workers run without the protection %s: %s", measure.name, measure.reason)
        self._refused_measures = refused

    def _require_key_holder(self) -> KeyHolder:
        if self._key_holder is None:
            raise KeyStoreLockedError("The workspace is open read-only.", "Open it for writing.")
        return self._key_holder

    async def _receive_messages(self, slot: _WorkerSlot, process: WorkerProcess) -> None:
        async for message in process.messages():
            slot.silent_seconds = 0.0
            self._on_message(slot, message)
        await process.wait_exit(STOP_TIMEOUT)
        self._on_worker_exit(slot, process)

    def _on_message(self, slot: _WorkerSlot, message: FromWorker) -> None:
        if isinstance(message, KeyResponse):
            future = self._response_futures.get(message.request_id)
            if future is not None and not future.done():
                future.set_result(message)
        elif not isinstance(message, WorkerReady | WorkerStartFailed):
            if isinstance(message, JobFinished | JobFailed | JobStopped):
                slot.remove_job(message.task_id)
            self._reports.put_nowait(message)

    def _on_worker_exit(self, slot: _WorkerSlot, process: WorkerProcess) -> None:
        slot.process = None
        for request_id in slot.request_ids:
            if not self._response_futures[request_id].done():
                self._response_futures[request_id].set_result(None)
        for task_id, fencing_token in slot.running_jobs.items():
            slot.remove_job(task_id)
            self._report_lost_job(process.name, task_id, fencing_token)

    def _report_lost_job(self, worker: str, task_id: str, fencing_token: int) -> None:
        self._reports.put_nowait(
            WorkerLost(worker=worker, task_id=task_id, fencing_token=fencing_token, at=self._clock.now())
        )

    async def _watch_lease(self, slot: _WorkerSlot, process: WorkerProcess) -> None:
        """Kill the worker if its lease expires while it has running jobs."""
        interval = LEASE_SECONDS / 10
        while slot.process is process:
            await sleep_active(interval)
            slot.silent_seconds += interval
            if slot.running_jobs and slot.silent_seconds > LEASE_SECONDS:
                process.kill()
                return

    async def _kill_if_busy(self, slot: _WorkerSlot, process: WorkerProcess, task_id: str, fencing_token: int) -> None:
        await sleep_active(STOP_TIMEOUT)
        if slot.process is process and slot.jobs.get(task_id) == fencing_token:
            process.kill()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
