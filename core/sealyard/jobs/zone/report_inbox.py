"""What the engine has read from the bus database: reports for it, claims of its jobs, hosts and progress."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sealyard.jobs.bus import Reattachment, Report
from sealyard.jobs.zone.codec import decode_agent_report, open_worker_report
from sealyard.jobs.zone.commands import ZoneCommands
from sealyard.jobs.zone.connection import Rows
from sealyard.jobs.zone.hosts import HOST_LEASE_SECONDS, Capacity, compute_capacity, is_alive, read_hosts
from sealyard.jobs.zone.remote_jobs import Claim, RemoteJob
from sealyard.jobs.zone.writer import BusWriter
from sealyard.model.clock import Clock
from sealyard.model.error_base import ErrorInfo
from sealyard.model.errors import ArtifactStoreError, DiskFullError, IntegrityError, error_from_info
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task
from sealyard.model.worker_messages import Heartbeat, JobFailed, JobFinished, JobStopped, WorkerLost
from sealyard.model.zone_messages import (
    AbortJob,
    AgentReport,
    CommandFailed,
    GrantsRequested,
    JobAbandoned,
    JobClaimed,
    SealedResponse,
    SignedReport,
)
from sealyard.model.zone_status import CryptoHostStatus

FinalReport = JobFinished | JobFailed | JobStopped | WorkerLost

_MAX_WARNED_HOSTS = 1000
_MAX_ERROR_LENGTH = 500

log = logging.getLogger(__name__)


class ReportInbox:
    """Implements :class:`sealyard.jobs.zone.reader.BusObserver`.

    ``report_key``: verifies the reports of workers; None if the zone is not admitted, so that all are ignored. Until
    :meth:`finish_recovery`, claims are kept for :meth:`reattach`.
    """

    def __init__(
        self,
        writer: BusWriter,
        commands: ZoneCommands | None,
        workspace_id: str,
        report_key: bytes | None,
        clock: Clock,
    ) -> None:
        self._writer = writer
        self._commands = commands
        self._workspace_id = workspace_id
        self._report_key = report_key
        self._clock = clock
        self.jobs: dict[str, RemoteJob] = {}
        self.queue: asyncio.Queue[Report] = asyncio.Queue()
        self.hosts: dict[str, CryptoHostStatus] = {}
        self.capacity = Capacity()
        self.capacity_callbacks: list[Callable[[], None]] = []
        self.report_lag = 0.0
        self.is_readable = False
        self.abort: Callable[[str, AbortJob], None] | None = None
        """Sends an instruction to a host that has claimed a job, but is not to run it."""
        self._early_claims: dict[tuple[str, int], Claim] = {}
        """Claims of jobs that an earlier engine has queued, by task and number."""
        self._is_recovered = False
        self._numbers: dict[int, tuple[Report, int]] = {}
        self._final: set[tuple[str, int]] = set()
        self._instructed: set[tuple[str, str]] = set()
        self._old_reports: set[int] = set()
        self._progress: dict[tuple[str, int], tuple[int, int, float]] = {}
        self._has_read = asyncio.Event()
        self._has_tried = asyncio.Event()
        self._warned_hosts: set[str] = set()

    # ---- for the bus

    async def wait_read(self, seconds: float) -> None:
        """Wait until the bus database was read for the first time, but at most ``seconds``."""
        await _wait_for_event(self._has_read, seconds)

    async def wait_tried(self, seconds: float) -> None:
        """Wait until ``is_readable`` is known: until the first attempt to read, but at most ``seconds``."""
        await _wait_for_event(self._has_tried, seconds)

    def find_number(self, report: Report) -> int | None:
        """Return the number of a report that was received, and forget it; None if the bus itself has reported it."""
        _, n = self._numbers.pop(id(report), (None, None))
        return n

    def notify_capacity(self) -> None:
        for callback in self.capacity_callbacks:
            callback()

    def reattach(self, task: Task) -> Reattachment:
        """Find the job of a task that an earlier engine has started. See :meth:`JobBus.reattach`.

        If the bus database could not be read, the job counts as running until it can be.
        """
        host, number = task.worker or "", task.fencing_token
        claim = self._early_claims.pop((task.id, number), None)
        if (task.id, number) in self._final:
            # The job has ended; its last report is in the queue.
            return Reattachment.RUNNING
        is_unconfirmed = not self._has_read.is_set()
        present = self.hosts.get(host)
        is_started = is_unconfirmed or (task.id, host) in self._instructed
        is_claimed = claim is not None and claim.host == host
        is_present = is_unconfirmed or (present is not None and is_alive(present))
        if not is_present or not (is_started or is_claimed):
            self._writer.delete_job(task.id)
            if claim is not None:
                self._release_claim(claim, task.id, number)
            return Reattachment.LOST
        attached_claim = claim or Claim(0, host)
        job = RemoteJob.attach(task.id, task.total_bytes, number, attached_claim, is_started=is_started)
        job.is_unconfirmed = is_unconfirmed
        self.jobs[task.id] = job
        return Reattachment.RUNNING if is_started else Reattachment.CLAIMED

    def adopt_claim(self, job: RemoteJob) -> bool:
        """Return whether a host has claimed the job for an earlier engine; the job belongs to that host then."""
        claim = self._early_claims.pop((job.task_id, job.number), None)
        if claim is None:
            return False
        host = self.hosts.get(claim.host)
        if host is None or not is_alive(host):
            self._discard(claim.n)
            return False
        job.claim.set_result(claim)
        return True

    def finish_recovery(self) -> None:
        """Release claims that arrive from now on and are not wanted. Those of an earlier engine follow later."""
        self._is_recovered = True
        self._final.clear()

    def release_early_claims(self) -> None:
        """Release the claims of an earlier engine that this one has not adopted."""
        for (task_id, number), claim in self._early_claims.items():
            self._release_claim(claim, task_id, number)
        self._early_claims.clear()

    # ---- for the reader

    @property
    def has_running_jobs(self) -> bool:
        return any(job.is_started for job in self.jobs.values())

    def on_first_read(self, instructed: Rows, old_reports: Rows) -> None:
        self._instructed = {(task, host) for task, host in instructed}
        self._old_reports = {n for (n,) in old_reports}

    def on_reports(self, rows: Rows) -> None:
        for n, host, body in rows:
            self._writer.received_reports.add(n)
            try:
                report = decode_agent_report(bytes(body))
                self._on_report(n, host, report)
            except IntegrityError as error:
                self._warn_once(host, error)
                self._discard(n)

    def on_hosts(self, rows: Rows, report_lag: float) -> None:
        self.hosts = read_hosts(rows)
        self.report_lag = report_lag
        capacity, self.capacity = self.capacity, compute_capacity(self.hosts.values())
        was_readable, self.is_readable = self.is_readable, True
        if capacity != self.capacity or not was_readable:
            self.notify_capacity()

    def on_progress(self, rows: Rows) -> None:
        """Report the progress of the running jobs that has changed."""
        progress = {}
        for task_id, fencing_token, done, total, at in rows:
            job = self.jobs.get(task_id)
            if job is None or not job.is_started or job.number != fencing_token:
                continue
            progress[task_id, fencing_token] = (done, total, at)
            if self._progress.get((task_id, fencing_token)) != (done, total, at):
                self.queue.put_nowait(Heartbeat(task_id=task_id, fencing_token=fencing_token, done=done, total=total))
        self._progress = progress

    def on_read(self, readable_seconds: float) -> None:
        self._has_read.set()
        self._has_tried.set()
        now = asyncio.get_running_loop().time()
        for job in list(self.jobs.values()):
            if not job.is_started:
                continue
            host = self.hosts.get(job.host)
            job.has_host_reconnected |= host is not None and host.silent_seconds < readable_seconds
            is_lost = (host is None or not is_alive(host)) and readable_seconds >= HOST_LEASE_SECONDS
            is_unknown = job.is_unconfirmed and (job.task_id, job.host) not in self._instructed
            is_overdue = job.stop_deadline is not None and now > job.stop_deadline
            if is_lost or is_unknown or is_overdue:
                log.warning("the crypto host %s has lost task %s", escape_text(job.host, 100), job.task_id)
                is_interrupted = is_unknown or (is_lost and not job.has_host_reconnected)
                self._lose(job.task_id, job.number, job.host, is_interrupted=is_interrupted)
            job.is_unconfirmed = False

    def on_unreadable(self) -> None:
        self.is_readable = False
        self._has_tried.set()
        for job in self.jobs.values():
            job.has_host_reconnected = False

    # ---- reports

    def _on_report(self, n: int, host: str, report: AgentReport) -> None:
        match report:
            case JobClaimed():
                self._on_claimed(n, host, report)
            case GrantsRequested():
                self._emit(n, report)
            case JobAbandoned():
                self._on_abandoned(n, host, report)
            case CommandFailed():
                if self._commands is not None:
                    self._commands.on_failure(report)
                self._discard(n)
            case SignedReport():
                self._on_signed(n, report)

    def _on_claimed(self, n: int, host: str, claimed: JobClaimed) -> None:
        job = self.jobs.get(claimed.task_id)
        is_wanted = job is not None and job.number == claimed.number and not job.is_started
        if job is not None and is_wanted and not job.claim.done():
            if claimed.error is None:
                job.claim.set_result(Claim(n, host))
            else:
                self._discard(n)
                job.fail(error_from_info(claimed.error))
        elif job is not None and job.number == claimed.number and job.host == host:
            if not (is_wanted and job.claim.result().n == n):
                self._discard(n)
        elif claimed.error is not None:
            self._discard(n)
        elif self._may_be_adopted(n):
            self._early_claims[claimed.task_id, claimed.number] = Claim(n, host)
        else:
            self._release_claim(Claim(n, host), claimed.task_id, claimed.number)

    def _may_be_adopted(self, n: int) -> bool:
        """Return whether the claim is for an earlier engine, and so new that its host has not given it up."""
        is_early = not self._is_recovered or not self._has_read.is_set()
        return is_early and n not in self._old_reports

    def _on_abandoned(self, n: int, host: str, abandoned: JobAbandoned) -> None:
        task_id, fencing_token, error = abandoned.task_id, abandoned.fencing_token, _bound(abandoned.error)
        job = self.jobs.get(task_id)
        if job is not None and job.number == fencing_token and job.host != host:
            self._discard(n)
            return
        log.warning("the crypto host %s has abandoned task %s: %s", _escape(host), _escape(task_id), error.message)
        if error.code in (DiskFullError.code, ArtifactStoreError.code):
            self._emit(n, JobFailed(task_id=task_id, fencing_token=fencing_token, error=error))
        else:
            reason = f"{error.message} {error.hint}".rstrip()
            self._lose(task_id, fencing_token, host, n, reason=reason, is_interrupted=abandoned.is_interrupted)

    def _on_signed(self, n: int, signed: SignedReport) -> None:
        if self._report_key is None:
            raise IntegrityError("The crypto zone is not admitted, so that its reports are ignored.")
        report = open_worker_report(self._report_key, signed.report)
        if report.workspace != self._workspace_id:
            raise IntegrityError("A report is about another workspace, and was ignored.")
        if isinstance(report.message, SealedResponse):
            if self._commands is not None:
                self._commands.on_response(report.message)
            self._discard(n)
        else:
            self._emit(n, report.message)

    def _lose(
        self,
        task_id: str,
        fencing_token: int,
        host: str,
        n: int | None = None,
        *,
        reason: str = "",
        is_interrupted: bool = False,
    ) -> None:
        lost = WorkerLost(
            worker=host,
            task_id=task_id,
            fencing_token=fencing_token,
            at=self._clock.now(),
            reason=reason,
            is_interrupted=is_interrupted,
        )
        self._emit(n, lost)

    def _emit(self, n: int | None, report: Report) -> None:
        if n is not None:
            self._numbers[id(report)] = (report, n)
        if isinstance(report, FinalReport):
            if not self._is_recovered:
                self._final.add((report.task_id, report.fencing_token))
            job = self.jobs.get(report.task_id)
            if job is not None and job.is_started and job.number == report.fencing_token:
                del self.jobs[report.task_id]
        self.queue.put_nowait(report)

    def _release_claim(self, claim: Claim, task_id: str, number: int) -> None:
        self._discard(claim.n)
        if self.abort is not None:
            self.abort(claim.host, AbortJob(task_id=task_id, fencing_token=number))

    def _discard(self, n: int) -> None:
        self._writer.delete_reports(n)

    def _warn_once(self, host: str, error: IntegrityError) -> None:
        if host not in self._warned_hosts and len(self._warned_hosts) < _MAX_WARNED_HOSTS:
            self._warned_hosts.add(host)
            log.warning("ignored a report of the crypto host %s: %s", _escape(host), error.message)


def _bound(error: ErrorInfo) -> ErrorInfo:
    """Return what is shown of an error. Agents do not sign their reports, so that it can be any text."""
    message, hint = (escape_text(text, _MAX_ERROR_LENGTH) for text in (error.message, error.hint))
    return ErrorInfo(code=error.code, message=message, hint=hint)


def _escape(text: str) -> str:
    return escape_text(text, 200)


async def _wait_for_event(event: asyncio.Event, seconds: float) -> None:
    waiter = asyncio.ensure_future(event.wait())
    await asyncio.wait({waiter}, timeout=seconds)
    waiter.cancel()
