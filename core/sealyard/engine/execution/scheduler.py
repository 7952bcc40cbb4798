"""Run SCHEDULED tasks on workers: queue the tasks, and start an attempt for each one that gets a worker slot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import NamedTuple

from sealyard.engine.execution.attempt import Attempt
from sealyard.engine.execution.progress import ProgressEstimator
from sealyard.engine.execution.queue import JobQueue
from sealyard.engine.execution.results import ResultPublisher
from sealyard.engine.execution.transitions import RETRY_SECONDS, advance_when_possible
from sealyard.engine.execution.wait_reasons import ZONE_CHECK_SECONDS, WaitReasons
from sealyard.engine.execution.zone_monitor import ZoneMonitor
from sealyard.engine.state.clock_guard import ClockGuard
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.jobs.bus import LARGE_JOB_BYTES, JobBus, Report
from sealyard.model.errors import AnchorError, KeyStoreLockedError, NotFoundError, SealyardError, WorkerStateError
from sealyard.model.events import TaskProgressed
from sealyard.model.lifecycle import transition_error
from sealyard.model.tasks import RunProgress, Task, TaskStatus
from sealyard.model.triggers import CancellationConfirmed, Trigger
from sealyard.model.worker_messages import Heartbeat
from sealyard.storage.artifacts import ArtifactStore

_UNRECOVERABLE_ERRORS = (AnchorError, KeyStoreLockedError, WorkerStateError)
"""Errors that prevent all workers from starting until a person does something."""

log = logging.getLogger(__name__)


class _RunningAttempt(NamedTuple):
    attempt: Attempt
    coroutine: asyncio.Task[None]


class Scheduler:
    """Queues SCHEDULED tasks and runs them on workers.

    Listens for saved tasks: queues SCHEDULED tasks, and drops all others from the queue. Each attempt is one coroutine.
    """

    def __init__(
        self,
        repository: Repository,
        permissions: Permissions,
        bus: JobBus,
        publisher: ResultPublisher,
        artifacts: ArtifactStore,
        clock_guard: ClockGuard,
        zone_monitor: ZoneMonitor,
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._bus = bus
        self._publisher = publisher
        self._artifacts = artifacts
        self._clock_guard = clock_guard
        self._wait_reasons = WaitReasons(repository, zone_monitor)
        self._queue = JobQueue(lambda size: size >= LARGE_JOB_BYTES)
        self._progress = ProgressEstimator()
        self._running: dict[str, _RunningAttempt] = {}
        self._queue_changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = asyncio.Event()
        self.start_error: SealyardError | None = None
        """The error that currently prevents workers from starting; None if there is none."""

    # ---- interface

    def on_task_saved(self, task: Task) -> None:
        """Drop the task from the queue if it is not SCHEDULED; otherwise queue it unless an attempt is in progress.

        An attempt that still waits for a worker ends with the task.
        """
        running_attempt = self._running.get(task.id)
        if task.status is not TaskStatus.SCHEDULED:
            self._queue.remove(task.id)
            if running_attempt is not None:
                running_attempt.attempt.withdraw()
        elif running_attempt is None:
            self._queue.add(task)
            self._idle.clear()
        self._queue_changed.set()

    def progress_of(self, task: Task) -> RunProgress | None:
        """Return the progress of a running task, or the queue position and estimated time of a queued task.

        Returns None if the task is neither running nor queued.
        """
        if task.status is TaskStatus.RUNNING:
            return self._progress.running_progress(task.id)
        position = self._queue.position(task.id)
        return None if position is None else self._progress.queued_progress(position[0], task.total_bytes, position[1])

    @property
    def draining(self) -> bool:
        """Whether the scheduler has stopped starting attempts, because the engine is about to close."""
        return self._draining.is_set()

    @property
    def queue_length(self) -> int:
        """Number of tasks that are waiting for a worker."""
        return len(self._queue)

    async def wait_idle(self) -> None:
        """Wait until no task is queued or running. Raises :attr:`start_error` if workers cannot be started."""
        while not self._idle.is_set():
            if self.start_error is not None:
                raise self.start_error
            idle_waiter = asyncio.ensure_future(self._idle.wait())
            await asyncio.wait({idle_waiter}, timeout=RETRY_SECONDS)
            idle_waiter.cancel()

    @property
    def has_attempts(self) -> bool:
        return bool(self._running)

    def adopt(self, task: Task, *, is_sent: bool) -> None:
        """Continue the attempt of a previous engine, which outlived it. Called before :meth:`run`.

        ``is_sent``: whether the worker has the job; otherwise, it only waits for it.
        """
        self._idle.clear()
        attempt = self._create_attempt(task.id)
        self._start(attempt, self._run_adopted(attempt, task, is_sent))

    async def drain(self, seconds: float) -> int:
        """Stop starting attempts, and wait up to ``seconds`` for the running attempts to end.

        Does not wait for jobs on other machines, which continue with the next engine. Returns the number of attempts
        that have not ended and end with this engine.
        """
        self._draining.set()
        for running_attempt in self._running.values():
            running_attempt.attempt.withdraw()
        if coroutines := self._list_ending():
            await asyncio.wait(coroutines, timeout=seconds)
        return len(self._list_ending())

    def _list_ending(self) -> list[asyncio.Task[None]]:
        """Return the attempts that do not continue with another engine."""
        return [
            running_attempt.coroutine
            for running_attempt in self._running.values()
            if not (self._bus.is_remote and running_attempt.attempt.has_lease)
        ]

    async def cancel(self, task_id: str, canceller: str) -> Task:
        """Cancel a running task; return the task once its worker has stopped or lost its lease.

        Raises :class:`InvalidTransitionError` if the task ends in another way before that.
        """
        cancellation = CancellationConfirmed(by=canceller)
        used_trigger = await self.abort(task_id, cancellation)
        task = self._repository.task(task_id)
        if used_trigger is not cancellation or task.status is not TaskStatus.CANCELLED:
            raise transition_error(task, CancellationConfirmed)
        return task

    async def abort(self, task_id: str, trigger: Trigger) -> Trigger:
        """Stop a running task and end it with ``trigger``.

        If the task is already being stopped, the earlier trigger ends it. Returns the trigger that was used. If the
        worker finishes before it stops, the task ends with the worker's result instead.
        """
        running_attempt = self._running.get(task_id)
        if running_attempt is None:
            # The attempt crashed without ending the task, so end it here.
            await advance_when_possible(self._repository, task_id, trigger)
            return trigger
        stop_trigger = await running_attempt.attempt.stop(trigger)
        await asyncio.wait({running_attempt.coroutine})
        return stop_trigger

    # ---- loops

    async def run(self, *, starts_attempts: bool = True) -> None:
        """Give queued tasks to workers until cancelled; then cancel all attempts and wait until they have ended.

        ``starts_attempts``: whether to start attempts; otherwise, only those of :meth:`adopt` run.
        """
        self._bus.on_capacity_changed(self._queue_changed.set)
        try:
            async with asyncio.TaskGroup() as task_group:
                task_group.create_task(self._read_reports())
                if starts_attempts:
                    task_group.create_task(self._dispatch())
        finally:
            await self.cancel_attempts()

    async def cancel_attempts(self) -> None:
        """Cancel all attempts, and wait until they have ended. Their tasks stay as they are."""
        coroutines = [running_attempt.coroutine for running_attempt in self._running.values()]
        for coroutine in coroutines:
            coroutine.cancel()
        await asyncio.gather(*coroutines, return_exceptions=True)

    async def _read_reports(self) -> None:
        """Pass heartbeats to the progress estimator and all other reports to the attempts they belong to."""
        async for report in self._bus.reports():
            if isinstance(report, Heartbeat):
                self._on_heartbeat(report)
            elif (running_attempt := self._running.get(report.task_id)) is not None:
                running_attempt.attempt.inbox.put_nowait(report)
            else:
                self._drop(report)

    def _drop(self, report: Report) -> None:
        """Acknowledge a report that no attempt wants, unless the next engine can continue the attempt."""
        try:
            task = self._repository.task(report.task_id)
        except NotFoundError:
            log.warning("ignored a report about an unknown task")
        else:
            if task.status is TaskStatus.RUNNING and task.fencing_token == report.fencing_token:
                return
        self._bus.acknowledge(report)

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
        """Start an attempt for each queued task that gets a worker slot; signal when no task is queued or running."""
        while True:
            self._queue_changed.clear()
            while not self._draining.is_set() and (task_id := self._queue.take(self._bus.reserve)):
                attempt = self._create_attempt(task_id)
                self._start(attempt, self._run_attempt(attempt))
            if not self._queue and not self._running:
                self._idle.set()
            if self._queue and self._bus.is_remote:
                await self._check_zone()
                await self._sleep_unless(self._queue_changed, ZONE_CHECK_SECONDS)
            else:
                await self._queue_changed.wait()

    async def _check_zone(self) -> None:
        """Find out why queued tasks get no worker, and show it on them."""
        await self._wait_reasons.check_zone(self._queue.task_ids)
        if self._wait_reasons.zone_error is not None:
            self.start_error = self._wait_reasons.zone_error

    def _create_attempt(self, task_id: str) -> Attempt:
        return Attempt(
            task_id,
            self._repository,
            self._permissions,
            self._bus,
            self._publisher,
            self._artifacts,
            self._progress,
            self._clock_guard,
        )

    def _start(self, attempt: Attempt, steps: Coroutine[None, None, None]) -> None:
        coroutine = asyncio.create_task(steps)
        self._running[attempt.task_id] = _RunningAttempt(attempt, coroutine)
        coroutine.add_done_callback(lambda done_task: self._on_attempt_done(attempt, done_task))

    def _on_attempt_done(self, attempt: Attempt, coroutine: asyncio.Task[None]) -> None:
        """Remove a finished attempt."""
        if not coroutine.cancelled() and (error := coroutine.exception()) is not None:
            log.error("attempt for task %s failed unexpectedly", attempt.task_id, exc_info=error)
        self._running.pop(attempt.task_id, None)
        self._progress.end(attempt.task_id)
        while not coroutine.cancelled() and not attempt.inbox.empty():
            self._drop(attempt.inbox.get_nowait())
        # If the task lost its worker, it is SCHEDULED again; it can be queued only now that its attempt is removed.
        self.on_task_saved(self._repository.task(attempt.task_id))

    async def _run_attempt(self, attempt: Attempt) -> None:
        try:
            task = await attempt.lease()
        except SealyardError as error:
            if self._bus.is_remote or isinstance(error, _UNRECOVERABLE_ERRORS):
                await self._wait_reasons.show(attempt.task_id, error)
            await self._wait_before_retry(error)
            return
        self.start_error = None
        if task is not None:
            await attempt.run(task)
            await self._wait_for_next_attempt(attempt.retry_delay)

    async def _run_adopted(self, attempt: Attempt, task: Task, is_sent: bool) -> None:
        await (attempt.resume(task) if is_sent else attempt.run(task))
        await self._wait_for_next_attempt(attempt.retry_delay)

    async def _wait_before_retry(self, error: SealyardError) -> None:
        """Record why an attempt got no worker or no lease, and wait before the next attempt.

        The task stays SCHEDULED; its execution period limits the retries.
        """
        if self.start_error is None:
            log.warning("no crypto worker available, retrying: %s", error)
        self.start_error = error
        await self._wait_for_next_attempt(RETRY_SECONDS)

    async def _wait_for_next_attempt(self, seconds: float) -> None:
        """Wait ``seconds``, or until the engine is about to close, which need not wait for it."""
        if seconds:
            await self._sleep_unless(self._draining, seconds)

    async def _sleep_unless(self, event: asyncio.Event, seconds: float) -> None:
        """Wait ``seconds``, or until the event is set."""
        sleeper = asyncio.ensure_future(self._repository.clock.sleep(seconds))
        event_waiter = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({sleeper, event_waiter}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeper.cancel()
            event_waiter.cancel()
