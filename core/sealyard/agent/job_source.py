"""The queue of the zone, from which Procrastinate hands out jobs and key commands to the agents."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import procrastinate
from procrastinate import worker
from procrastinate.exceptions import ProcrastinateException

from sealyard.concurrency.backoff import RetryDelays
from sealyard.jobs.worker_pool import WorkerPool
from sealyard.jobs.zone.queue import ASK_TASK, CRYPTO_TASK, build_app, queues_of
from sealyard.storage.postgres.connection import Database

MAX_COMMANDS = 8
"""Maximum number of key commands that an agent executes at a time."""

POLL_INTERVAL = 2.0
"""Seconds after which the queue is read even without a notification."""

HEARTBEAT_INTERVAL = 5.0
CONNECTION_SECONDS = 3.0

_RETRY_DELAYS = RetryDelays.exponential(0.2, 2.0, jitter=(0.5, 1.0))

log = logging.getLogger(__name__)

RunJobs = Callable[[str, int, int], Awaitable[None]]
"""Runs a job. Arguments: task id, number and size."""

RunCommands = Callable[[int], Awaitable[None]]
"""Executes a key command. Argument: the request id."""


class _Lane(NamedTuple):
    """A queue, and how many of its rows are served at a time."""

    queue: str
    concurrency: int


class JobSource:
    """Takes jobs and commands of a workspace from the queue, until :meth:`stop`.

    The rows only have ids: what they mean is decided by ``run_job`` and ``run_command``, which handle their own errors.
    """

    def __init__(
        self, database: Database, workspace_id: str, pool: WorkerPool, run_job: RunJobs, run_command: RunCommands
    ) -> None:
        self._database = database
        self._workspace_id = workspace_id
        self._run_job = run_job
        self._run_command = run_command
        queues = queues_of(workspace_id)
        self._lanes = (
            _Lane(queues.small, pool.small_capacity),
            _Lane(queues.large, pool.large_capacity),
            _Lane(queues.commands, MAX_COMMANDS),
        )
        self._workers: list[_Worker] = []
        self._is_stopped = False

    async def run(self) -> None:
        """Serve the queue until :meth:`stop`. After an error, starts again, because Procrastinate ends then."""
        failures = 0
        while not self._is_stopped:
            try:
                app = self._build_app()
                async with app.open_async():
                    await self._run_workers(app)
                failures = 0
            except (ProcrastinateException, OSError) as error:
                failures += 1
                log.warning("the queue of the zone cannot be read (%s)", type(error).__name__)
                await asyncio.sleep(_RETRY_DELAYS.delay_after(failures))

    def stop(self) -> None:
        """Take no more jobs. :meth:`run` then returns when the present ones have ended."""
        self._is_stopped = True
        for each in self._workers:
            each.stop(wait_for_jobs=True)

    async def _run_workers(self, app: procrastinate.App) -> None:
        """Serve all lanes until one of them fails or returns."""
        self._workers = [_Worker(app, lane) for lane in self._lanes]
        if self._is_stopped:
            return
        tasks = [asyncio.create_task(each.serve()) for each in self._workers]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in self._workers:
                each.stop(wait_for_jobs=self._is_stopped)
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            task.result()

    def _build_app(self) -> procrastinate.App:
        app = build_app(self._database, timeout=CONNECTION_SECONDS)
        app.task(name=CRYPTO_TASK)(self._crypto)
        app.task(name=ASK_TASK)(self._ask)
        return app

    async def _crypto(self, *, workspace: str, task: str, number: int, size: int) -> None:
        if self._is_own(workspace):
            await self._run_job(task, number, size)

    async def _ask(self, *, workspace: str, request_id: int) -> None:
        if self._is_own(workspace):
            await self._run_command(request_id)

    def _is_own(self, workspace: str) -> bool:
        if workspace != self._workspace_id:
            log.warning("ignored a job of another workspace in the queue")
        return workspace == self._workspace_id


class _Worker(worker.Worker):
    """A worker of Procrastinate. When it fails, it does not wait for its jobs: the agent continues them.

    The row of a job that the agent continues says "aborted"; only the reports of the agent count.
    """

    def __init__(self, app: procrastinate.App, lane: _Lane) -> None:
        super().__init__(
            app,
            queues=[lane.queue],
            concurrency=lane.concurrency,
            fetch_job_polling_interval=POLL_INTERVAL,
            update_heartbeat_interval=HEARTBEAT_INTERVAL,
            shutdown_graceful_timeout=0.0,
            install_signal_handlers=False,
        )

    async def serve(self) -> None:
        await self.run()  # type: ignore[no-untyped-call]

    def stop(self, *, wait_for_jobs: bool = False) -> None:
        """Stop fetching jobs. ``wait_for_jobs``: whether :meth:`serve` returns only when the present ones end."""
        if wait_for_jobs:
            self.shutdown_graceful_timeout = None
        super().stop()  # type: ignore[no-untyped-call]

    async def _persist_job_status(self, *args: Any, **kwargs: Any) -> None:
        try:
            await super()._persist_job_status(*args, **kwargs)
        except ProcrastinateException:
            # The engine deletes the row when the job ends, or the connection is lost.
            log.debug("the row of a job in the queue is gone")
