"""Run SCHEDULED tasks on workers: the queue, and one attempt for each task that gets a worker slot."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from sealyard.engine.execution.attempt import RETRY_SECONDS, Attempt, advance_when_possible
from sealyard.engine.execution.progress import ProgressEstimator
from sealyard.engine.execution.queue import JobQueue
from sealyard.engine.execution.results import ResultPublisher
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.jobs.bus import LARGE_JOB_BYTES, JobBus
from sealyard.model.errors import SealyardError
from sealyard.model.events import TaskProgressed
from sealyard.model.lifecycle import transition_error
from sealyard.model.tasks import RunProgress, Task, TaskStatus
from sealyard.model.triggers import CancellationConfirmed, Trigger
from sealyard.model.worker_messages import Heartbeat

log = logging.getLogger(__name__)


class _RunningAttempt(NamedTuple):
    attempt: Attempt
    coroutine: asyncio.Task[None]


class Scheduler:
    """Queues SCHEDULED tasks and runs them on workers.

    Listens for saved tasks: queues SCHEDULED ones, drops all others from the queue. Each attempt is one coroutine.
    """

    def __init__(
        self, repository: Repository, permissions: Permissions, bus: JobBus, publisher: ResultPublisher
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._bus = bus
        self._publisher = publisher
        self._queue = JobQueue(lambda size: size >= LARGE_JOB_BYTES)
        self._progress = ProgressEstimator()
        self._running: dict[str, _RunningAttempt] = {}
        self._queue_changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self.start_error: SealyardError | None = None
        """The error that prevents workers from starting at present; None if there is none."""

    # ---- interface

    def on_task_saved(self, task: Task) -> None:
        """Queue the task if it is SCHEDULED and not being attempted; otherwise drop it from the queue."""
        if task.status is not TaskStatus.SCHEDULED:
            self._queue.remove(task.id)
        elif task.id not in self._running:
            self._queue.add(task)
            self._idle.clear()
        self._queue_changed.set()

    def progress_of(self, task: Task) -> RunProgress | None:
        """Return the progress of a running task, or queue position and estimate of a queued task."""
        if task.status is TaskStatus.RUNNING:
            return self._progress.running(task.id)
        position = self._queue.position(task.id)
        return None if position is None else self._progress.queued(position[0], task.total_bytes, position[1])

    @property
    def draining(self) -> bool:
        """Whether the scheduler starts no more attempts because the engine is about to close."""
        return self._draining

    @property
    def queue_length(self) -> int:
        """Number of tasks waiting for a worker."""
        return len(self._queue)

    async def wait_idle(self) -> None:
        """Wait until no task is queued or running. Raises the error that prevents workers from starting."""
        while not self._idle.is_set():
            if self.start_error is not None:
                raise self.start_error
            idle = asyncio.ensure_future(self._idle.wait())
            await asyncio.wait({idle}, timeout=RETRY_SECONDS)
            idle.cancel()

    async def drain(self, seconds: float) -> int:
        """Start no more attempts, and wait up to ``seconds`` for the running ones.

        Returns the number of attempts still running then.
        """
        self._draining = True
        running = {running.coroutine for running in self._running.values()}
        if running:
            await asyncio.wait(running, timeout=seconds)
        return len(self._running)

    async def cancel(self, task_id: str, by: str) -> Task:
        """Cancel a running task; return it once its worker has stopped or was fenced off.

        Raises :class:`InvalidTransitionError` if the task ended in another way before that.
        """
        cancellation = CancellationConfirmed(by=by)
        applied = await self.abort(task_id, cancellation)
        task = self._repository.task(task_id)
        if applied is not cancellation or task.status is not TaskStatus.CANCELLED:
            raise transition_error(task, CancellationConfirmed)
        return task

    async def abort(self, task_id: str, trigger: Trigger) -> Trigger:
        """Stop a running task and end it with ``trigger``.

        Returns the trigger that stopped the task, which may be an earlier one. A task whose worker finishes first ends
        with the worker's result.
        """
        running = self._running.get(task_id)
        if running is None:
            # The attempt crashed without ending the task, so no worker will; end it here.
            await advance_when_possible(self._repository, task_id, trigger)
            return trigger
        stop_trigger = await running.attempt.stop(trigger)
        await asyncio.wait({running.coroutine})
        return stop_trigger

    # ---- loops

    async def run(self) -> None:
        """Give queued tasks to workers until cancelled. When it ends, it cancels all attempts and waits for them."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_reports())
                group.create_task(self._dispatch())
        finally:
            coroutines = [running.coroutine for running in self._running.values()]
            for coroutine in coroutines:
                coroutine.cancel()
            await asyncio.gather(*coroutines, return_exceptions=True)

    async def _read_reports(self) -> None:
        """Pass heartbeats to the progress estimator and all other reports to the attempts they belong to."""
        async for report in self._bus.reports():
            if isinstance(report, Heartbeat):
                self._on_heartbeat(report)
            elif (running := self._running.get(report.task_id)) is not None:
                running.attempt.inbox.put_nowait(report)

    def _on_heartbeat(self, heartbeat: Heartbeat) -> None:
        progress = self._progress.record(heartbeat, asyncio.get_running_loop().time())
        if progress is None:
            return
        self._repository.events.publish(
            TaskProgressed(
                cursor=self._repository.events.cursor,
                task_id=heartbeat.task_id,
                bytes_done=progress.bytes_done,
                bytes_total=progress.bytes_total,
                eta_seconds=progress.eta_seconds,
            )
        )

    async def _dispatch(self) -> None:
        """Start an attempt for each queued task that gets a worker slot; signal when nothing is left to run."""
        while True:
            self._queue_changed.clear()
            while not self._draining and (task_id := self._queue.take(self._bus.reserve)):
                self._start_attempt(task_id)
            if not self._queue and not self._running:
                self._idle.set()
            await self._queue_changed.wait()

    def _start_attempt(self, task_id: str) -> None:
        attempt = Attempt(task_id, self._repository, self._permissions, self._bus, self._publisher, self._progress)
        coroutine = asyncio.create_task(self._run_attempt(attempt))
        self._running[task_id] = _RunningAttempt(attempt, coroutine)
        coroutine.add_done_callback(lambda finished: self._on_attempt_done(task_id, finished))

    def _on_attempt_done(self, task_id: str, coroutine: asyncio.Task[None]) -> None:
        """Remove a finished attempt."""
        if not coroutine.cancelled() and (error := coroutine.exception()) is not None:
            log.error("attempt for task %s failed unexpectedly", task_id, exc_info=error)
        self._running.pop(task_id, None)
        self._progress.end(task_id)
        # A task that lost its worker is SCHEDULED again; on_task_saved() queues it only once its attempt is removed.
        self.on_task_saved(self._repository.task(task_id))

    async def _run_attempt(self, attempt: Attempt) -> None:
        try:
            task = await attempt.lease()
        except SealyardError as error:
            await self._pause(error)
            return
        self.start_error = None
        if task is not None:
            await attempt.run(task)

    async def _pause(self, error: SealyardError) -> None:
        """Wait before a task is tried again whose attempt got no worker or no lease.

        The task stays SCHEDULED; its execution period limits the retries.
        """
        if self.start_error is None:
            log.warning("no crypto worker available, retrying: %s", error)
        self.start_error = error
        await self._repository.clock.sleep(RETRY_SECONDS)
