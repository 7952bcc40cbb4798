"""The crypto workers of one machine: the key holder starts them, one in each slot.

A slot runs either one large job or many small ones. The first slot never runs large jobs, so that small jobs do not
have to wait for a large one. A worker is started when its slot has work, and replaced after it has exited.

A worker that has running jobs and sends nothing for the length of its lease is killed. The pool reports the jobs of a
worker as lost only after the worker has exited, so that two workers never write to the same files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import NamedTuple, overload

import msgspec

from sealyard.concurrency.active_time import sleep_active, wait_active
from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.jobs.key_holder import KeyHolder
from sealyard.jobs.worker_process import WorkerProcess
from sealyard.jobs.worker_slot import MAX_SMALL_JOBS, WorkerSlot, find_slot_for_large_job, find_slot_for_small_job
from sealyard.model.base import JSON_ERRORS
from sealyard.model.clock import Clock
from sealyard.model.errors import ConflictError, KeyStoreLockedError, SealyardError, WorkerError, error_from_info
from sealyard.model.signed_message import SignedMessage
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    BuildSecretRecorded,
    FromWorker,
    Heartbeat,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyRequest,
    KeyResponse,
    OrderRefused,
    RefusedMeasure,
    RunJob,
    SegmentEncrypted,
    SigningPermissionRequested,
    SigningPermitted,
    StopJob,
    WorkerLost,
    WorkerReady,
    WorkerStartFailed,
)
from sealyard.model.zone_messages import SealedResponse, WorkerReport

LEASE_SECONDS = 10.0
"""Time in seconds after which a worker that has running jobs but sends nothing is killed."""

REQUEST_TIMEOUT = 60.0
"""Time in seconds that a worker has to respond to a request."""

STOP_TIMEOUT = 5.0
"""Time in seconds that a worker has to stop a task, or to exit after its pipe was closed, before it is killed."""

JobMessage = (
    Heartbeat
    | BuildSecretCreated
    | SegmentEncrypted
    | SigningPermissionRequested
    | JobFinished
    | JobFailed
    | JobStopped
    | WorkerLost
    | OrderRefused
)

_report_decoder: msgspec.json.Decoder[WorkerReport] = msgspec.json.Decoder(WorkerReport)

log = logging.getLogger(__name__)


class PoolReport(NamedTuple):
    """A message about a job. ``signed``: the signed report that contains it, on a crypto host.

    The pool does not verify the signature. Heartbeats, refused orders and lost workers are not signed.
    """

    message: JobMessage
    signed: SignedMessage | None = None


class WorkerPool:
    """Starts and ends workers, assigns jobs to them, and receives what they report.

    All calls must be made on one event loop. For each job, call :meth:`reserve`, :meth:`prepare`, and then either
    :meth:`start` or :meth:`release`.

    ``key_holder`` starts the workers; without it, none can be started. ``log_path``: the file that receives the
    standard error output of the workers. ``workers``: the number of slots, raised to two if smaller.
    """

    def __init__(self, key_holder: KeyHolder | None, log_path: Path, clock: Clock, workers: int = 2) -> None:
        self._key_holder = key_holder
        self._log_path = log_path
        self._clock = clock
        self._slots = [WorkerSlot() for _ in range(max(2, workers))]
        self._reports: asyncio.Queue[PoolReport] = asyncio.Queue()
        self._response_futures: dict[int, asyncio.Future[KeyResponse | SignedMessage | None]] = {}
        self._refused_measures: tuple[RefusedMeasure, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the running workers."""
        return tuple(slot.process.pid for slot in self._slots if slot.process is not None)

    @property
    def refused_measures(self) -> tuple[RefusedMeasure, ...]:
        """The measures of confinement that the kernel refused to the workers; empty before the first one starts."""
        return self._refused_measures

    @property
    def slots(self) -> int:
        """Number of slots: one less can run a large job."""
        return len(self._slots)

    @property
    def large_capacity(self) -> int:
        """Number of large jobs that can run at a time."""
        return len(self._slots) - 1

    @property
    def small_capacity(self) -> int:
        """Number of small jobs that can run at a time beside no large one."""
        return MAX_SMALL_JOBS * len(self._slots)

    @property
    def running_jobs(self) -> int:
        """Number of jobs that are running or have a reserved slot."""
        return sum(len(slot.jobs) for slot in self._slots)

    def require_key_holder(self) -> KeyHolder:
        """Return the key holder. Raises :class:`KeyStoreLockedError` if there is none."""
        if self._key_holder is None:
            raise KeyStoreLockedError("The workspace is open read-only.", "Open it for writing.")
        return self._key_holder

    # ---- jobs

    def reserve(self, task_id: str, size: int, *, large_job_waiting: bool = False) -> bool:
        """Reserve a slot for a job of ``size`` bytes; see :meth:`sealyard.jobs.bus.JobBus.reserve`."""
        is_large = size >= LARGE_JOB_BYTES
        slot = (
            find_slot_for_large_job(self._slots)
            if is_large
            else find_slot_for_small_job(self._slots, large_job_waiting)
        )
        if slot is None:
            return False
        slot.reserve(task_id, is_large)
        return True

    async def prepare(self, task_id: str) -> str:
        """Make sure that a worker is running in the reserved slot, and return the name of the worker.

        Raises the :class:`SealyardError` that prevented the worker from starting.
        """
        return (await self._ensure_worker(self._find_slot(task_id))).name

    def release(self, task_id: str) -> None:
        """Release a reserved slot without running the job."""
        self._find_slot(task_id).remove_job(task_id)

    async def start(self, task_id: str, fencing_token: int, message: RunJob | SignedMessage) -> None:
        """Start the job in its reserved slot with ``message``. Reports the job as lost if no worker can be started."""
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
        await process.send(message)

    async def send(
        self, task_id: str, fencing_token: int, message: BuildSecretRecorded | SigningPermitted | SignedMessage
    ) -> None:
        """Send a message that the worker of a running job waits for.

        Does nothing if the worker has exited; a :class:`WorkerLost` report follows.
        """
        slot = next((slot for slot in self._slots if slot.running_jobs.get(task_id) == fencing_token), None)
        if slot is not None and slot.process is not None:
            await slot.process.send(message)

    async def stop(self, task_id: str) -> None:
        """Ask the worker to stop a running job. A worker that does not stop within the grace period is killed."""
        slot = next((slot for slot in self._slots if task_id in slot.running_jobs), None)
        if slot is None or slot.process is None:
            return
        self._spawn(self._kill_if_busy(slot, slot.process, task_id, slot.jobs[task_id]))
        await slot.process.send(StopJob(task_id=task_id))

    async def reports(self) -> AsyncIterator[PoolReport]:
        """Yield the messages of the workers about their jobs, those of one worker in the order in which it sent them.

        Each started job ends with exactly one :class:`JobFinished`, :class:`JobFailed`, :class:`JobStopped`,
        :class:`WorkerLost`, or :class:`OrderRefused` of a job that is not running.
        """
        while True:
            yield await self._reports.get()

    # ---- requests

    @overload
    async def request(self, request_id: int, message: KeyRequest) -> KeyResponse | None: ...

    @overload
    async def request(self, request_id: int, message: SignedMessage) -> SignedMessage | None: ...

    async def request(self, request_id: int, message: KeyRequest | SignedMessage) -> KeyResponse | SignedMessage | None:
        """Send a key command to the least busy worker, and return the response.

        ``message``: the command, or the order that contains it; the response is the signed report then. Returns None if
        the worker exits without a response. Raises :class:`WorkerError` if the worker does not respond in time, and
        the error with which it refuses an order.
        """
        if request_id in self._response_futures:
            raise ConflictError("This key command is already being executed.", "Wait for its response.")
        future: asyncio.Future[KeyResponse | SignedMessage | None] = asyncio.get_running_loop().create_future()
        self._response_futures[request_id] = future
        slot = min(self._slots, key=lambda slot: (slot.process is None, slot.has_large_job, len(slot.jobs)))
        slot.request_ids.add(request_id)
        try:
            process = await self._ensure_worker(slot)
            await process.send(message)
            if await wait_active(future, REQUEST_TIMEOUT):
                return future.result()
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

        No worker is started after this call. The key holder stays open.
        """
        self._closed = True
        for slot in self._slots:
            # Wait for a worker that is being started: it must not outlive the pool.
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

    # ---- slots

    def _find_slot(self, task_id: str) -> WorkerSlot:
        return next(slot for slot in self._slots if task_id in slot.jobs)

    async def _ensure_worker(self, slot: WorkerSlot) -> WorkerProcess:
        async with slot.start_lock:
            if self._closed:
                raise WorkerError("Cannot start a crypto worker: Sealyard is closing.", "Start Sealyard again.")
            if slot.process is None:
                slot.process = await WorkerProcess.start(self.require_key_holder(), self._log_path)
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

    # ---- messages of workers

    async def _receive_messages(self, slot: WorkerSlot, process: WorkerProcess) -> None:
        async for message in process.messages():
            slot.silent_seconds = 0.0
            self._on_message(slot, message)
        await process.wait_exit(STOP_TIMEOUT)
        self._on_worker_exit(slot, process)

    def _on_message(self, slot: WorkerSlot, message: FromWorker) -> None:
        match message:
            case WorkerReady() | WorkerStartFailed():
                return
            case KeyResponse(request_id=request_id):
                self._resolve_request(request_id, message)
            case SignedMessage():
                self._on_signed_report(slot, message)
            case OrderRefused():
                self._on_refused_order(slot, message)
            case _:
                self._report(slot, PoolReport(message))

    def _on_signed_report(self, slot: WorkerSlot, signed: SignedMessage) -> None:
        try:
            message = _report_decoder.decode(signed.body).message
        except JSON_ERRORS:
            log.warning("ignored a report of a crypto worker that cannot be read")
            return
        if isinstance(message, SealedResponse):
            self._resolve_request(message.request_id, signed)
        else:
            self._report(slot, PoolReport(message, signed))

    def _on_refused_order(self, slot: WorkerSlot, refusal: OrderRefused) -> None:
        log.warning("a crypto worker refused an order: %s", refusal.error.message)
        future = self._response_futures.get(refusal.request_id)
        if future is not None and not future.done():
            future.set_exception(error_from_info(refusal.error))
        if slot.running_jobs.get(refusal.task_id) != refusal.fencing_token:
            return
        if not refusal.is_running:
            slot.remove_job(refusal.task_id)
        self._reports.put_nowait(PoolReport(refusal))

    def _resolve_request(self, request_id: int, response: KeyResponse | SignedMessage) -> None:
        future = self._response_futures.get(request_id)
        if future is not None and not future.done():
            future.set_result(response)

    def _report(self, slot: WorkerSlot, report: PoolReport) -> None:
        if isinstance(report.message, JobFinished | JobFailed | JobStopped):
            slot.remove_job(report.message.task_id)
        self._reports.put_nowait(report)

    def _on_worker_exit(self, slot: WorkerSlot, process: WorkerProcess) -> None:
        slot.process = None
        for request_id in slot.request_ids:
            if not self._response_futures[request_id].done():
                self._response_futures[request_id].set_result(None)
        for task_id, fencing_token in slot.running_jobs.items():
            slot.remove_job(task_id)
            self._report_lost_job(process.name, task_id, fencing_token)

    def _report_lost_job(self, worker: str, task_id: str, fencing_token: int) -> None:
        message = WorkerLost(worker=worker, task_id=task_id, fencing_token=fencing_token, at=self._clock.now())
        self._reports.put_nowait(PoolReport(message))

    async def _watch_lease(self, slot: WorkerSlot, process: WorkerProcess) -> None:
        """Kill the worker if its lease expires while it has running jobs."""
        interval = LEASE_SECONDS / 10
        while slot.process is process:
            await sleep_active(interval)
            slot.silent_seconds += interval
            if slot.running_jobs and slot.silent_seconds > LEASE_SECONDS:
                process.kill()
                return

    async def _kill_if_busy(self, slot: WorkerSlot, process: WorkerProcess, task_id: str, fencing_token: int) -> None:
        await sleep_active(STOP_TIMEOUT)
        if slot.process is process and slot.jobs.get(task_id) == fencing_token:
            process.kill()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
