"""The job bus to a crypto zone, through its bus database.

The engine reads reports, heartbeats of hosts and progress; it writes jobs into the queue, and signed instructions.
Reports are rows that it deletes after it has handled them durably. Everything survives a restart of the database and of
the engine: jobs continue on their hosts meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, Self

from msgspec import UNSET

from sealyard.concurrency.active_time import wait_active
from sealyard.jobs.bus import Reattachment, Report
from sealyard.jobs.pipe_bus import PipeBus
from sealyard.jobs.zone.commands import ZoneCommands
from sealyard.jobs.zone.connection import BusConnection, listen
from sealyard.jobs.zone.hosts import is_alive
from sealyard.jobs.zone.instructions import InstructionSender
from sealyard.jobs.zone.queue import build_app, report_channel_of
from sealyard.jobs.zone.reader import BusReader
from sealyard.jobs.zone.remote_jobs import RemoteJob
from sealyard.jobs.zone.report_inbox import FinalReport, ReportInbox
from sealyard.jobs.zone.writer import BusWriter
from sealyard.model.clock import Clock
from sealyard.model.errors import FencedError, ZoneUnavailableError
from sealyard.model.grants import InputGrant, ResultGrant
from sealyard.model.hints import Hint, HintCode
from sealyard.model.key_commands import AuditCommand, KeyCommand, ProbeAuditKey
from sealyard.model.key_holder_messages import EngineKeys, StoreGeneration
from sealyard.model.tasks import Task
from sealyard.model.worker_messages import (
    BuildSecretRecorded,
    Job,
    KeyResponse,
    RefusedMeasure,
    RunJob,
    SigningPermitted,
)
from sealyard.model.zone_messages import AbortJob, ForwardOrder, IssueGrants, StartJob
from sealyard.model.zone_status import ZoneStatus
from sealyard.model.zones import ZoneSettings
from sealyard.storage.postgres.connection import Database

CLAIM_SECONDS = 30.0
"""Time that a host has to claim a job before it is queued again."""

STOP_SECONDS = 30.0
"""Time that a host has to stop a job before the job counts as lost."""

CONNECT_SECONDS = 5.0
"""Time for which the start of the engine waits for the bus database."""

CLOSE_SECONDS = 3.0
"""Time that :meth:`ZoneBus.close` has to write what is pending."""

OLD_HOST_SECONDS = 600.0
"""Time after which the row of a host that is gone is deleted."""

CLEANUP_SECONDS = 60.0

LOCAL_COMMANDS = AuditCommand | ProbeAuditKey
"""Commands for the audit key, which the server has itself."""

log = logging.getLogger(__name__)


class ZoneBus:
    """Implements :class:`sealyard.jobs.bus.JobBus` for a crypto zone. All calls must be made on one event loop.

    ``local``: executes commands for the audit key, and is closed with this bus.
    """

    def __init__(self, settings: ZoneSettings, workspace_id: str, local: PipeBus, clock: Clock) -> None:
        self._settings = settings
        self._workspace_id = workspace_id
        self._local = local
        self._keys = None if settings.keys is UNSET else settings.keys
        self._database = Database(settings.bus, connect_seconds=4)
        self._writer_connection, self._reader_connection = BusConnection(self._database), BusConnection(self._database)
        app = build_app(self._database)
        self._writer = BusWriter(self._writer_connection, app, workspace_id, self._on_fenced)
        self._commands = ZoneCommands(self._writer, self._keys.sealing_key, clock) if self._keys is not None else None
        report_key = None if self._keys is None else self._keys.report_key
        self._inbox = ReportInbox(self._writer, self._commands, workspace_id, report_key, clock)
        self._jobs = self._inbox.jobs
        self._sender: InstructionSender | None = None
        self._fenced: FencedError | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def open(cls, settings: ZoneSettings, workspace_id: str, local: PipeBus, clock: Clock) -> Self:
        """Create the bus. It connects when it is used first, and does not fail if the bus database is unreachable.

        Raises :class:`UsageError` if the connection string is invalid or contains a password.
        """
        return cls(settings, workspace_id, local, clock)

    @property
    def is_remote(self) -> bool:
        return True

    @property
    def pids(self) -> tuple[int, ...]:
        return self._local.pids

    @property
    def refused_measures(self) -> tuple[RefusedMeasure, ...]:
        return self._local.refused_measures

    # ---- jobs

    def on_capacity_changed(self, callback: Callable[[], None]) -> None:
        self._inbox.capacity_callbacks.append(callback)

    def reserve(self, task_id: str, size: int, *, large_job_waiting: bool = False) -> bool:
        self._ensure_started()
        if self._keys is None or self._fenced is not None or not self._inbox.is_readable:
            return False
        sizes = (job.size for job in self._jobs.values())
        if not self._inbox.capacity.admits(size, sizes, large_job_waiting=large_job_waiting):
            return False
        self._jobs[task_id] = RemoteJob(task_id, size)
        return True

    async def prepare(self, task_id: str, fencing_token: int) -> str:
        await self._require_sender()
        job = self._jobs[task_id]
        job.number = fencing_token
        if not self._inbox.adopt_claim(job):
            self._writer.queue_job(task_id, fencing_token, job.size)
        if not await wait_active(job.claim, CLAIM_SECONDS):
            raise ZoneUnavailableError(
                f"No host of the crypto zone {self._settings.name} has taken the task.", "Check the log of the hosts."
            )
        return job.claim.result().host

    def release(self, task_id: str) -> None:
        job = self._jobs.pop(task_id, None)
        if job is None or not job.number:
            return
        if job.host:
            self._writer.delete_reports(job.claim.result().n)
            self._abort(job, is_kept=True)
        self._writer.cancel_queued(task_id)
        self._inbox.notify_capacity()

    async def run(self, job: Job, inputs: tuple[InputGrant, ...] = ()) -> None:
        sender = await self._require_sender()
        task_id, fencing_token = job.task.id, job.task.fencing_token
        remote_job = self._jobs[task_id]
        order = sender.sign(RunJob(job=job))
        start = StartJob(task_id=task_id, fencing_token=fencing_token, inputs=inputs, order=order)
        sender.send(remote_job.host, start)
        self._writer.delete_reports(remote_job.claim.result().n)
        remote_job.is_started = True

    async def reattach(self, task: Task) -> Reattachment:
        await self._load_sender()
        self._ensure_started()
        await self._inbox.wait_read(CONNECT_SECONDS)
        return self._inbox.reattach(task)

    async def issue_grants(
        self, task_id: str, fencing_token: int, inputs: tuple[InputGrant, ...], result: ResultGrant | None
    ) -> None:
        message = IssueGrants(task_id=task_id, fencing_token=fencing_token, inputs=inputs, result=result)
        job, sender = self._find_running(task_id, fencing_token), await self._require_sender()
        if job is not None:
            sender.send(job.host, message)

    async def confirm_build_secret(self, task_id: str, fencing_token: int) -> None:
        await self._forward(BuildSecretRecorded(task_id=task_id, fencing_token=fencing_token))

    async def permit_signing(self, task_id: str, fencing_token: int, sha256: str) -> None:
        await self._forward(SigningPermitted(task_id=task_id, fencing_token=fencing_token, sha256=sha256))

    async def stop(self, task_id: str) -> None:
        job = self._jobs.get(task_id)
        if job is None or not job.is_started:
            return
        await self._require_sender()
        job.stop_deadline = asyncio.get_running_loop().time() + STOP_SECONDS
        self._abort(job)

    async def reports(self) -> AsyncIterator[Report]:
        """Yield the reports. An engine that was fenced receives none."""
        await self._load_sender()
        self._ensure_started()
        self._inbox.finish_recovery()
        while True:
            report = await self._inbox.queue.get()
            if self._fenced is None:
                yield report

    def acknowledge(self, report: Report) -> None:
        n = self._inbox.find_number(report)
        if n is not None:
            self._writer.delete_reports(n)
        if isinstance(report, FinalReport):
            job = self._jobs.get(report.task_id)
            if job is None or job.number == report.fencing_token:
                self._writer.delete_job(report.task_id)

    # ---- requests

    async def get_engine_keys(self) -> EngineKeys:
        return await self._local.get_engine_keys()

    async def update_store_generation(self, generation: StoreGeneration | None) -> StoreGeneration | None:
        return await self._local.update_store_generation(generation)

    async def request(self, command: KeyCommand) -> KeyResponse:
        if isinstance(command, LOCAL_COMMANDS):
            return await self._local.request(command)
        self._ensure_started()
        await self._inbox.wait_read(CONNECT_SECONDS)
        sender = await self._require_sender()
        if not self._inbox.is_readable:
            raise ZoneUnavailableError(
                f"The bus database of the crypto zone {self._settings.name} cannot be read.",
                "Check that it runs, and the connection string.",
            )
        if not any(is_alive(host) for host in self._inbox.hosts.values()):
            raise ZoneUnavailableError(
                f"No host of the crypto zone {self._settings.name} is running.", "Start a crypto host, then try again."
            )
        assert self._commands is not None
        return await self._commands.request(sender, command)

    async def zone_status(self) -> ZoneStatus | None:
        self._ensure_started()
        await self._inbox.wait_tried(CONNECT_SECONDS)
        return ZoneStatus(
            name=self._settings.name,
            reachable=self._inbox.is_readable,
            hosts=tuple(self._inbox.hosts.values()),
            queued=sum(bool(job.number) and not job.host for job in self._jobs.values()),
            report_lag=self._inbox.report_lag,
        )

    async def drain_host(self, name: str) -> None:
        """Let a host finish its jobs and exit."""
        (await self._require_sender()).drain(name)

    async def close(self) -> None:
        """Release the jobs that have not started, and leave the running ones to the next engine."""
        for job in list(self._jobs.values()):
            if not job.is_started:
                self.release(job.task_id)
        if self._tasks and self._fenced is None:
            await self._writer.wait_written(CLOSE_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._writer_connection.close()
        await self._reader_connection.close()
        await self._local.close()

    # ---- internals

    def _ensure_started(self) -> None:
        if self._tasks:
            return
        notified = asyncio.Event()
        received = self._writer.received_reports
        reader = BusReader(self._reader_connection, self._workspace_id, self._inbox, received, notified)
        channel = report_channel_of(self._workspace_id)
        for coroutine in (
            self._writer.run(),
            reader.run(),
            listen(self._database, channel, notified, CONNECT_SECONDS),
            self._clean_up(),
        ):
            self._spawn(coroutine)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(coroutine))

    async def _clean_up(self) -> None:
        while True:
            await asyncio.sleep(CLEANUP_SECONDS)
            self._inbox.release_early_claims()
            if self._inbox.is_readable:
                self._writer.delete_old(OLD_HOST_SECONDS)

    async def _require_sender(self) -> InstructionSender:
        """Return the sender of instructions.

        Raises :class:`FencedError` if another engine has replaced this one, and :class:`ZoneUnavailableError` if the
        zone is not admitted.
        """
        if self._fenced is not None:
            raise self._fenced
        if self._keys is None:
            raise ZoneUnavailableError(
                f"The crypto zone {self._settings.name} is not admitted.", Hint.of(HintCode.ADMIT_ZONE)
            )
        sender = await self._load_sender()
        self._ensure_started()
        return sender

    async def _load_sender(self) -> InstructionSender:
        if self._sender is None:
            order_key = (await self._local.get_engine_keys()).order_key
            self._sender = InstructionSender(self._writer, self._workspace_id, order_key)
            self._inbox.abort = partial(self._sender.send, is_kept=True)
        return self._sender

    def _require_present_sender(self) -> InstructionSender:
        assert self._sender is not None
        return self._sender

    def _find_running(self, task_id: str, fencing_token: int) -> RemoteJob | None:
        job = self._jobs.get(task_id)
        return job if job is not None and job.is_started and job.number == fencing_token else None

    async def _forward(self, message: BuildSecretRecorded | SigningPermitted) -> None:
        """Send an order that the worker of a job waits for. Does nothing if the job has ended."""
        task_id, fencing_token = message.task_id, message.fencing_token
        job, sender = self._find_running(task_id, fencing_token), await self._require_sender()
        if job is not None:
            order = sender.sign(message)
            sender.send(job.host, ForwardOrder(task_id=task_id, fencing_token=fencing_token, order=order))

    def _abort(self, job: RemoteJob, *, is_kept: bool = False) -> None:
        abort = AbortJob(task_id=job.task_id, fencing_token=job.number)
        self._require_present_sender().send(job.host, abort, is_kept=is_kept)

    def _on_fenced(self, error: FencedError) -> None:
        log.error("stopped using the crypto zone: %s", error.message)
        self._fenced = error
        for job in self._jobs.values():
            job.fail(error)
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._inbox.on_unreadable()
