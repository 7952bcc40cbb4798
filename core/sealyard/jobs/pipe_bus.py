"""The embedded bus: crypto workers as child processes, one in each place.

A place takes one large job, or many small ones. One place is always left to small jobs, so that none of them
waits behind a huge one. A worker is started when its place has work, and replaced when it has died. One that
holds a job and falls silent for the length of a lease is killed: only then is its job called lost, so that two
workers never write to the same files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path

from sealyard.jobs.bus import LARGE_JOB_BYTES, Report
from sealyard.jobs.worker_process import WorkerProcess
from sealyard.model.clock import Clock
from sealyard.model.errors import SealyardError, WorkerError, error_from_info
from sealyard.model.worker_messages import (
    AuditPublicKey,
    FromWorker,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyCommand,
    KeyRequest,
    KeyResponse,
    OpenKeyStore,
    ProbeEncryptionKey,
    ProbeSigningKey,
    RunJob,
    SignCheckpoint,
    SigningPermitted,
    StopJob,
    WorkerLost,
    WorkerReady,
    WorkerStartFailed,
)

MAX_SMALL_JOBS = 32
"""As many small jobs as one worker holds at a time."""

LEASE_SECONDS = 10.0
REQUEST_TIMEOUT = 60.0
STOP_TIMEOUT = 5.0

IDEMPOTENT = AuditPublicKey | SignCheckpoint | ProbeSigningKey | ProbeEncryptionKey
"""Questions that do no harm when they are asked twice: a worker's death is no answer to them."""

_CLAIMED = 0
"""The fence of a job that has a place and does not run yet."""

log = logging.getLogger(__name__)


class _WorkerSlot:
    """Room for one worker, and the jobs it holds with their fences."""

    def __init__(self) -> None:
        self.child: WorkerProcess | None = None
        self.jobs: dict[str, int] = {}
        self.large = False
        self.heard = 0.0
        self.questions: set[int] = set()
        self.starting = asyncio.Lock()

    def drop(self, task_id: str) -> None:
        self.jobs.pop(task_id, None)
        self.large = self.large and bool(self.jobs)

    @property
    def running(self) -> dict[str, int]:
        return {task_id: fence for task_id, fence in self.jobs.items() if fence != _CLAIMED}


class PipeBus:
    """See :class:`sealyard.jobs.bus.JobBus`. Lives on one event loop."""

    def __init__(self, unlock: OpenKeyStore, log: Path, clock: Clock, workers: int = 2) -> None:
        self._unlock = unlock
        self._log = log
        self._clock = clock
        self._places = [_WorkerSlot() for _ in range(max(2, workers))]
        self._reports: asyncio.Queue[Report] = asyncio.Queue()
        self._answers: dict[int, asyncio.Future[KeyResponse | None]] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def pids(self) -> tuple[int, ...]:
        """Of the workers that live."""
        return tuple(place.child.pid for place in self._places if place.child is not None)

    # ---- jobs

    def reserve(self, task_id: str, size: int, *, spare: bool = False) -> bool:
        place = self._place_for_large() if size >= LARGE_JOB_BYTES else self._place_for_small(spare)
        if place is None:
            return False
        place.jobs[task_id] = _CLAIMED
        place.large = size >= LARGE_JOB_BYTES
        return True

    async def prepare(self, task_id: str) -> str:
        return (await self._worker_in(self._place_of(task_id))).name

    def release(self, task_id: str) -> None:
        self._place_of(task_id).drop(task_id)

    async def run(self, job: Job) -> None:
        task_id, fence = job.task.id, job.task.fencing_token
        place = self._place_of(task_id)
        try:
            child = await self._worker_in(place)
        except SealyardError as error:
            # The worker that was ready has died since, and there is no other.
            log.warning("no crypto worker for task %s: %s", task_id, error)
            place.drop(task_id)
            self._report_lost("", task_id, fence)
            return
        if not place.running:
            place.heard = asyncio.get_running_loop().time()
        place.jobs[task_id] = fence
        await child.send(RunJob(job=job))

    async def permit_signing(self, task_id: str, fence: int) -> None:
        """Does nothing where the worker that asked has died: then its loss is on the way."""
        place = next((each for each in self._places if each.running.get(task_id) == fence), None)
        if place is not None and place.child is not None:
            await place.child.send(SigningPermitted(task_id=task_id, fencing_token=fence))

    async def stop(self, task_id: str) -> None:
        place = next((each for each in self._places if task_id in each.running), None)
        if place is None or place.child is None:
            return
        self._spawn(self._kill_if_busy(place, place.child, task_id, place.jobs[task_id]))
        await place.child.send(StopJob(task_id=task_id))

    async def reports(self) -> AsyncIterator[Report]:
        while True:
            yield await self._reports.get()

    # ---- questions

    async def request(self, question: KeyCommand) -> KeyResponse:
        answer = await self._asked(question)
        if answer is None and isinstance(question, IDEMPOTENT):
            answer = await self._asked(question)
        if answer is None:
            raise WorkerError("The crypto worker died before it answered.", "Try again; its log says more.")
        if answer.error is not None:
            raise error_from_info(answer.error)
        return answer

    async def _asked(self, question: KeyCommand) -> KeyResponse | None:
        """None where the worker died over it."""
        place = min(self._places, key=lambda each: (each.child is None, each.large, len(each.jobs)))
        child = await self._worker_in(place)
        self._number += 1
        number = self._number
        self._answers[number] = asyncio.get_running_loop().create_future()
        place.questions.add(number)
        try:
            await child.send(KeyRequest(request_id=number, question=question))
            async with asyncio.timeout(REQUEST_TIMEOUT):
                return await self._answers[number]
        except TimeoutError:
            if not place.running:
                # With jobs its lease decides; without, nothing else would end a worker that hangs.
                child.kill()
            raise WorkerError(
                "The crypto worker did not answer.", f"Look into its log, {self._log}, then try again."
            ) from None
        finally:
            place.questions.discard(number)
            del self._answers[number]

    async def close(self) -> None:
        """Hangs up on every worker; kills one that does not leave. None is started any more."""
        self._closed = True
        for place in self._places:
            # One that is being started is waited for: it must not outlive the bus.
            async with place.starting:
                if place.child is not None:
                    place.child.close_pipe()
        for place in self._places:
            if (child := place.child) is not None:
                await child.wait_exit(STOP_TIMEOUT)
                # Whoever still waits for it is told so.
                self._discard(place, child)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- places

    def _place_for_small(self, spare: bool) -> _WorkerSlot | None:
        places = self._places[:1] if spare else self._places
        fitting = [place for place in places if not place.large and len(place.jobs) < MAX_SMALL_JOBS]
        return min(fitting, key=lambda place: (place.child is None and bool(place.jobs), len(place.jobs)), default=None)

    def _place_for_large(self) -> _WorkerSlot | None:
        """Never the first place: it is the one that is left to small jobs."""
        return next((place for place in self._places[1:] if not place.jobs), None)

    def _place_of(self, task_id: str) -> _WorkerSlot:
        return next(place for place in self._places if task_id in place.jobs)

    async def _worker_in(self, place: _WorkerSlot) -> WorkerProcess:
        async with place.starting:
            if self._closed:
                raise WorkerError("The engine is closing: no crypto worker is started.", "Open the workspace again.")
            if place.child is None:
                place.child = await WorkerProcess.start(self._unlock, self._log)
                place.heard = asyncio.get_running_loop().time()
                self._spawn(self._listen(place, place.child))
                self._spawn(self._watch(place, place.child))
            return place.child

    async def _listen(self, place: _WorkerSlot, child: WorkerProcess) -> None:
        async for message in child.messages():
            place.heard = asyncio.get_running_loop().time()
            self._on_message(place, message)
        await child.wait_exit(STOP_TIMEOUT)
        self._discard(place, child)

    def _on_message(self, place: _WorkerSlot, message: FromWorker) -> None:
        if isinstance(message, KeyResponse):
            waiting = self._answers.get(message.request_id)
            if waiting is not None and not waiting.done():
                waiting.set_result(message)
        elif not isinstance(message, WorkerReady | WorkerStartFailed):
            if isinstance(message, JobFinished | JobFailed | JobStopped):
                place.drop(message.task_id)
            self._reports.put_nowait(message)

    def _discard(self, place: _WorkerSlot, child: WorkerProcess) -> None:
        place.child = None
        for number in place.questions:
            if not self._answers[number].done():
                self._answers[number].set_result(None)
        for task_id, fence in place.running.items():
            place.drop(task_id)
            self._report_lost(child.name, task_id, fence)

    def _report_lost(self, worker: str, task_id: str, fence: int) -> None:
        self._reports.put_nowait(WorkerLost(worker=worker, task_id=task_id, fencing_token=fence, at=self._clock.now()))

    async def _watch(self, place: _WorkerSlot, child: WorkerProcess) -> None:
        """Ends the lease of a worker that holds jobs and says nothing."""
        loop = asyncio.get_running_loop()
        while place.child is child:
            await asyncio.sleep(LEASE_SECONDS / 10)
            if place.running and loop.time() - place.heard > LEASE_SECONDS:
                child.kill()
                return

    async def _kill_if_busy(self, place: _WorkerSlot, child: WorkerProcess, task_id: str, fence: int) -> None:
        await asyncio.sleep(STOP_TIMEOUT)
        if place.child is child and place.jobs.get(task_id) == fence:
            child.kill()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
