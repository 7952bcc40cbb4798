"""The agent of a crypto host: serves the queue of its zone until it is stopped or drained."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Self

from sealyard.agent.artifact_transfer import ArtifactTransfer, PartSizes
from sealyard.agent.commands import CommandRunner
from sealyard.agent.host_folder import verify_pinned
from sealyard.agent.host_jobs import HostJobs
from sealyard.agent.host_record import HostRecord, HostState, create_host_name
from sealyard.agent.input_cache import InputCache
from sealyard.agent.instruction_inbox import InstructionInbox
from sealyard.agent.intents import Intents
from sealyard.agent.job import Claim, JobServices
from sealyard.agent.job_source import JobSource
from sealyard.agent.key_file_sync import KeyFileSync
from sealyard.agent.key_files import KeyFiles
from sealyard.agent.object_store import ObjectStoreClient
from sealyard.agent.outbox import Outbox
from sealyard.concurrency.backoff import RetryDelays
from sealyard.concurrency.threads import run_uncancellable
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.jobs.key_holder import KeyHolder
from sealyard.jobs.worker_pool import WorkerPool
from sealyard.jobs.zone.connection import BusConnection
from sealyard.model.clock import Clock
from sealyard.model.errors import StorageError, WorkerError
from sealyard.model.workspace import WorkspacePaths
from sealyard.model.zone_messages import Drain, Instruction
from sealyard.model.zones import CryptoHostSettings
from sealyard.storage.artifacts import FileArtifacts
from sealyard.storage.postgres.connection import Database

HEARTBEAT_INTERVAL = 2.0
HEARTBEAT_RETRY_INTERVAL = 0.2

LOST_SECONDS = 6.0
"""Time without the bus database after which the agent stops its jobs. The engine gives them up after 8 seconds."""

SEND_SECONDS = 5.0
"""Time in which the last reports are sent when the agent ends."""

CANCEL_SECONDS = 10.0

_RETRY_DELAYS = RetryDelays.exponential(0.2, 5.0, jitter=(0.5, 1.0))

log = logging.getLogger(__name__)


class AgentOptions(NamedTuple):
    """Options of an agent. ``drain_seconds``: time for running jobs to finish when it ends.

    ``allow_http``: whether an object store on another machine may be used without encryption.
    """

    workers: int = 2
    drain_seconds: float = 60.0
    allow_http: bool = False
    part_sizes: PartSizes = PartSizes()


class Agent:
    """The agent in one process. Create it with :meth:`open`, and call :meth:`run` once.

    While the bus database cannot be reached, the agent tries again. If that takes long, it stops its jobs, and
    registers again with another name later.
    """

    def __init__(
        self,
        paths: WorkspacePaths,
        settings: CryptoHostSettings,
        key_holder: KeyHolder,
        lock: WorkspaceLock,
        clock: Clock,
        options: AgentOptions,
    ) -> None:
        self._enrollment = settings.enrollment
        self._lock = lock
        self._options = options
        self._clock = clock
        self._database = Database(settings.bus)
        workspace_id = self._enrollment.workspace_id
        self._heartbeat_connection = BusConnection(self._database)
        self._connection = BusConnection(self._database)
        self._client = ObjectStoreClient(allow_http=options.allow_http)
        artifacts = FileArtifacts(paths.artifacts)
        transfer = ArtifactTransfer(artifacts, paths.artifacts, self._client, clock, options.part_sizes)
        self._inputs = InputCache(artifacts, transfer)
        self._pool = WorkerPool(key_holder, paths.worker_log, clock, options.workers)
        self._outbox = Outbox(self._connection, workspace_id)
        files = KeyFiles(paths.keys, paths.worker_state.with_name("key-files.json"))
        self._key_files = KeyFileSync(files, self._connection, workspace_id)
        services = JobServices(
            pool=self._pool,
            artifacts=artifacts,
            inputs=self._inputs,
            transfer=transfer,
            intents=Intents(self._connection, workspace_id),
            key_files=self._key_files,
            outbox=self._outbox,
        )
        self._jobs = HostJobs(services, "")
        self._commands = CommandRunner(self._pool, self._key_files, self._outbox)
        self._source = JobSource(self._database, workspace_id, self._pool, self._run_job, self._run_command)
        self._inbox: InstructionInbox | None = None
        self._is_registered = asyncio.Event()
        self._drain_requested = asyncio.Event()
        self._is_draining = False

    @classmethod
    async def open(
        cls,
        paths: WorkspacePaths,
        settings: CryptoHostSettings,
        key_holder: KeyHolder,
        clock: Clock,
        options: AgentOptions = AgentOptions(),  # noqa: B008 - immutable
    ) -> Self:
        """Wait until the key store is open, and delete files of jobs that a previous agent has left.

        Raises :class:`WorkspaceLockedError` if another agent uses the folder, :class:`WorkspaceError` if the key store
        has pinned another enrollment, :class:`KeyStoreLockedError` if it cannot be opened, :class:`UsageError` if the
        connection string of the bus database is invalid, and :class:`StorageError` if the disk refuses an operation.
        """
        lock = await run_uncancellable(partial(WorkspaceLock.acquire, paths.lock, "worker run"))
        try:
            verify_pinned(settings, await key_holder.get_zone_identity())
            agent = await run_uncancellable(lambda: cls(paths, settings, key_holder, lock, clock, options))
            await agent._inputs.delete_all()
        except BaseException:
            lock.release()
            raise
        return agent

    async def run(self, stop: asyncio.Event) -> None:
        """Serve the queue until ``stop`` is set or the engine drains this host.

        Running jobs then have ``drain_seconds`` to finish, or until ``stop`` is set again. Raises
        :class:`WorkspaceError` if the bus database belongs to another zone.
        """
        tasks = [
            asyncio.create_task(self._stay_registered()),
            asyncio.create_task(self._outbox.run_reports()),
            asyncio.create_task(self._outbox.run_progress()),
            asyncio.create_task(self._jobs.receive_reports()),
        ]
        source_task = asyncio.create_task(self._source.run())
        try:
            await _wait_first(stop.wait(), self._drain_requested.wait(), tasks=[*tasks, source_task])
            stop.clear()
            await self._drain(source_task, stop, tasks)
        finally:
            await _cancel([*tasks, source_task])
            await self._close()

    async def _drain(
        self, source_task: asyncio.Task[None], stop: asyncio.Event, tasks: list[asyncio.Task[None]]
    ) -> None:
        """Take no more jobs, and end the running ones."""
        log.info("stopping; jobs that are running: %d", self._jobs.count)
        self._is_draining = True
        self._source.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.drain_seconds):
                await _wait_first(stop.wait(), self._wait_idle(source_task), tasks=tasks)
        if self._jobs.count:
            log.info("stopping jobs that have not finished: %d", self._jobs.count)
            self._jobs.abandon_all(WorkerError("The crypto host is shutting down.", "The job starts on another host."))
            await self._jobs.wait_idle()
        try:
            await asyncio.wait_for(self._outbox.wait_sent(), SEND_SECONDS)
        except TimeoutError:
            log.warning("some reports were not sent, because the bus database cannot be reached")

    async def _wait_idle(self, source_task: asyncio.Task[None]) -> None:
        await asyncio.wait({source_task})
        await self._jobs.wait_idle()

    async def _close(self) -> None:
        await self._pool.close()
        await self._client.close()
        await self._connection.close()
        await self._heartbeat_connection.close()
        self._lock.release()

    # ---- registration

    async def _stay_registered(self) -> None:
        """Keep this agent registered, under another name after each loss of the bus database."""
        while True:
            record = HostRecord(self._heartbeat_connection, self._enrollment, create_host_name())
            await self._register(record)
            inbox = InstructionInbox(self._database, self._connection, self._enrollment, record.name, self._dispatch)
            inbox_task = asyncio.create_task(inbox.run())
            try:
                self._jobs.host, self._inbox = record.name, inbox
                self._is_registered.set()
                await self._send_heartbeats(record)
            finally:
                self._is_registered.clear()
                await _cancel([inbox_task])
            log.warning("lost the bus database; stopping jobs: %d", self._jobs.count)
            self._jobs.forget_all()
            self._outbox.clear()
            await self._jobs.wait_idle()

    async def _register(self, record: HostRecord) -> None:
        """Register this agent, and exchange key files with the other hosts. Tries again until that succeeds."""
        failures = 0
        while True:
            try:
                await record.register(self._state)
                await self._key_files.fetch()
                await self._key_files.publish(record.name)
            except StorageError as error:
                failures += 1
                log.warning("cannot register in the bus database: %s", error.message)
                await self._clock.sleep(_RETRY_DELAYS.delay_after(failures))
            else:
                log.info("registered as %s in zone %s", record.name, self._enrollment.zone)
                return

    async def _send_heartbeats(self, record: HostRecord) -> None:
        """Send heartbeats until the bus database was not reached for too long, or the engine has given this agent up.

        The time during which this machine was suspended counts.
        """
        last_success = self._clock.monotonic()
        while True:
            remaining = LOST_SECONDS - (self._clock.monotonic() - last_success)
            if remaining <= 0:
                return
            try:
                async with asyncio.timeout(remaining):
                    is_known = await record.send_heartbeat(self._state)
                if not is_known or self._clock.monotonic() - last_success > LOST_SECONDS:
                    return
                last_success = self._clock.monotonic()
                await asyncio.sleep(HEARTBEAT_INTERVAL)
            except TimeoutError:
                return
            except StorageError as error:
                log.debug("could not send a heartbeat: %s", error.message)
                await asyncio.sleep(HEARTBEAT_RETRY_INTERVAL)

    @property
    def _state(self) -> HostState:
        return HostState(
            slots=self._pool.slots,
            running_jobs=self._jobs.count,
            draining=self._is_draining,
            refused=self._pool.refused_measures,
        )

    # ---- work

    def _dispatch(self, instruction: Instruction) -> None:
        if isinstance(instruction.message, Drain):
            log.info("the server drains this host")
            self._drain_requested.set()
        elif not self._jobs.dispatch(instruction):
            log.warning("ignored an instruction of an unexpected kind")

    async def _run_job(self, task_id: str, number: int, size: int) -> None:
        await self._is_registered.wait()
        await self._jobs.run(Claim(task_id, number, size))

    async def _run_command(self, request_id: int) -> None:
        await self._is_registered.wait()
        assert self._inbox is not None
        await self._commands.run(self._inbox, self._jobs.host, request_id)


async def _wait_first(*conditions: Coroutine[Any, Any, Any], tasks: Iterable[asyncio.Task[None]]) -> None:
    """Wait until one of the conditions returns. Raises the error of a task that ends before."""
    waiters = [asyncio.ensure_future(condition) for condition in conditions]
    try:
        done, _ = await asyncio.wait([*waiters, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel(waiters)
    for task in done:
        task.result()


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait until they have ended, but not for those that wait for a database that hangs."""
    futures = tuple(tasks)
    for future in futures:
        future.cancel()
    await asyncio.wait(futures, timeout=CANCEL_SECONDS)
