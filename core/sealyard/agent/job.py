"""The course of one job on a crypto host: from the claim to the upload of its result."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec

from sealyard.agent.artifact_transfer import ArtifactTransfer
from sealyard.agent.input_cache import InputCache
from sealyard.agent.intents import Intents
from sealyard.agent.key_file_sync import KeyFileSync
from sealyard.agent.outbox import Outbox
from sealyard.concurrency.threads import run_uncancellable
from sealyard.jobs.worker_pool import PoolReport, WorkerPool
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import IntegrityError, SealyardError, StorageError, WorkerError, error_from_info
from sealyard.model.grants import InputGrant, ResultContent, ResultGrant
from sealyard.model.tasks import TaskKind
from sealyard.model.worker_messages import (
    Heartbeat,
    JobFailed,
    JobFinished,
    JobStopped,
    OrderRefused,
    RunJob,
    SigningPermitted,
    WorkerLost,
)
from sealyard.model.zone_messages import (
    AgentReport,
    ForwardOrder,
    GrantsRequested,
    IssueGrants,
    JobAbandoned,
    JobClaimed,
    Order,
    SignedMessage,
    SignedReport,
    StartJob,
)
from sealyard.storage.artifacts import OUTPUT_NAMES, FileArtifacts

START_SECONDS = 120.0
"""Time after which a claimed job that the engine has not started is released; a new engine may have to start first."""

GRANT_SECONDS = 600.0
"""Time that the engine has to answer a request for grants."""

INTENT_RETRY_SECONDS = 0.5

_MAX_PARALLEL_DOWNLOADS = 4

log = logging.getLogger(__name__)

_order_decoder: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)


class Claim(NamedTuple):
    """A job that this agent has taken from the queue. ``number``: the fencing token that the attempt will have."""

    task_id: str
    number: int
    size: int


class JobServices(NamedTuple):
    """What the jobs of a host share."""

    pool: WorkerPool
    artifacts: FileArtifacts
    inputs: InputCache
    transfer: ArtifactTransfer
    intents: Intents
    key_files: KeyFileSync
    outbox: Outbox


class ZoneJob:
    """A job of this host, for which the pool has a reserved slot. ``host``: the name of this agent.

    The engine receives :class:`JobClaimed` and then, unless it stops the job before it has started, exactly one final
    report: that of the worker, or :class:`JobAbandoned`.
    """

    def __init__(self, services: JobServices, host: str, claim: Claim) -> None:
        self.claim = claim
        self._services = services
        self._host = host
        self._events: asyncio.Queue[PoolReport | ForwardOrder] = asyncio.Queue()
        self._start: asyncio.Future[StartJob] = asyncio.get_running_loop().create_future()
        self._grants: asyncio.Future[IssueGrants] | None = None
        self._requested: GrantsRequested | None = None
        self._grant_lock = asyncio.Lock()
        self._downloads = asyncio.Semaphore(_MAX_PARALLEL_DOWNLOADS)
        self._has_slot = True
        self._is_in_worker = False
        self._is_over = False
        self._is_stopped = False
        self._task = asyncio.create_task(self._run(), name=f"job {claim.task_id}")

    # ---- calls of the agent

    async def wait(self) -> None:
        """Wait until the job has ended and its files are deleted."""
        await asyncio.wait({self._task})

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the job has ended and its files are deleted."""
        self._task.add_done_callback(lambda _: callback())

    def receive(self, message: StartJob | ForwardOrder | IssueGrants) -> None:
        """Handle an instruction of the engine for this attempt. An instruction that was repeated changes nothing."""
        match message:
            case StartJob() if not self._start.done():
                self._start.set_result(message)
            case ForwardOrder():
                self._events.put_nowait(message)
            case IssueGrants() if self._is_answer(message):
                assert self._grants is not None
                self._grants.set_result(message)
            case _:
                pass

    def receive_report(self, report: PoolReport) -> None:
        """Handle a report of the worker."""
        self._events.put_nowait(report)

    def stop(self) -> None:
        """Stop the job. A worker that does not stop in time is killed."""
        if self._is_stopped:
            return
        self._is_stopped = True
        if not self._is_in_worker:
            self._task.cancel()
        else:
            self._stop_task = asyncio.create_task(self._services.pool.stop(self.claim.task_id))

    def abandon(self, error: SealyardError, *, is_interrupted: bool = False) -> None:
        """Report that this host cannot continue the job, unless the engine knows already how it ended.

        ``is_interrupted``: see :class:`JobAbandoned`.
        """
        if self._start.done() and not self._start.cancelled():
            log.warning("abandoned task %s: %s", self.claim.task_id, error.message)
            report = JobAbandoned(
                task_id=self.claim.task_id,
                fencing_token=self.claim.number,
                error=error.to_info(),
                is_interrupted=is_interrupted,
            )
            self._send(report)
        self.forget()

    def forget(self) -> None:
        """Send nothing more about the job: it has ended, or the engine has given it up."""
        self._is_over = True
        self._services.outbox.drop_progress(self.claim.task_id, self.claim.number)

    # ---- the course

    async def _run(self) -> None:
        try:
            start = await self._claim()
            if start is not None:
                await self._execute(start)
        except asyncio.CancelledError:
            if not self._is_stopped:
                raise
            self.abandon(WorkerError("The job was stopped on the crypto host.", "Submit the request again."))
        except SealyardError as error:
            self.abandon(error)
        except Exception:
            log.exception("the job of task %s failed unexpectedly", self.claim.task_id)
            self.abandon(WorkerError("The job failed on the crypto host.", "See the log of the crypto host."))
        finally:
            if self._has_slot:
                self._services.pool.release(self.claim.task_id)

    async def _claim(self) -> StartJob | None:
        """Report the claim, and wait until the engine starts the job. Returns None if it does not."""
        task_id, number = self.claim.task_id, self.claim.number
        try:
            await self._services.pool.prepare(task_id)
        except SealyardError as error:
            log.warning("could not start a crypto worker for task %s: %s", task_id, error.message)
            self._send(JobClaimed(task_id=task_id, number=number, error=error.to_info()))
            return None
        self._send(JobClaimed(task_id=task_id, number=number))
        try:
            return await asyncio.wait_for(self._start, START_SECONDS)
        except TimeoutError:
            log.warning("released task %s: the server did not start it", task_id)
            return None

    async def _execute(self, start: StartJob) -> None:
        log.info("started task %s", start.task_id)
        kind = _find_kind(start)
        sha256s = tuple(grant.sha256 for grant in start.inputs)
        self._services.inputs.acquire(sha256s)
        try:
            await self._services.key_files.fetch()
            await self._download(start.inputs)
            await self._start_worker(start)
            finished = await self._follow()
            if finished is not None:
                await self._deliver(kind, *finished)
        finally:
            await self._delete_files(sha256s)
            log.info("finished with task %s", start.task_id)

    async def _download(self, grants: tuple[InputGrant, ...]) -> None:
        await asyncio.to_thread(self._services.inputs.check_free_space, grants)
        try:
            async with asyncio.TaskGroup() as group:
                for grant in grants:
                    group.create_task(self._download_one(grant))
        except* SealyardError as errors:
            raise _first(errors) from None

    async def _download_one(self, grant: InputGrant) -> None:
        async def renew() -> InputGrant:
            answer = await self._request_grants(inputs=(grant.sha256,))
            return next(each for each in answer.inputs if each.sha256 == grant.sha256)

        async with self._downloads:
            await self._services.inputs.fetch(grant, renew)

    async def _start_worker(self, start: StartJob) -> None:
        self._is_in_worker, self._has_slot = True, False
        await self._services.pool.start(start.task_id, start.fencing_token, start.order)
        if self._is_stopped:
            # The pool did not know the job yet when it was to stop it.
            await self._services.pool.stop(start.task_id)

    async def _follow(self) -> tuple[JobFinished, SignedMessage] | None:
        """Pass messages between engine and worker until the job ends. Returns the report of a finished job."""
        while True:
            event = await self._events.get()
            if isinstance(event, ForwardOrder):
                await self._forward_order(event)
                continue
            message, signed = event
            match message:
                case Heartbeat() if not self._is_over:
                    self._services.outbox.report_progress(message)
                case JobFinished() if signed is not None:
                    self._is_in_worker = False
                    return message, signed
                case WorkerLost():
                    self._is_in_worker = False
                    raise WorkerError("The crypto worker exited unexpectedly.", "See its log on the crypto host.")
                case OrderRefused(is_running=False, error=info):
                    self._is_in_worker = False
                    raise error_from_info(info)
                case _ if signed is not None:
                    self._send(SignedReport(report=signed))
                    if isinstance(message, JobFailed | JobStopped):
                        self._is_in_worker = False
                        self.forget()
                        return None

    async def _forward_order(self, instruction: ForwardOrder) -> None:
        """Pass an order to the worker. The permission to sign is recorded for all hosts of the zone before."""
        try:
            message = _decode_order(instruction.order).message
            if isinstance(message, SigningPermitted):
                await self._record_intent(message.sha256)
            if not self._is_stopped:
                await self._services.pool.send(self.claim.task_id, self.claim.number, instruction.order)
        except SealyardError as error:
            # The loop of the caller continues until the worker has stopped.
            self.abandon(error)
            self.stop()

    async def _record_intent(self, sha256: str) -> None:
        while not self._is_stopped:
            try:
                await self._services.intents.record(self.claim.task_id, self.claim.number, sha256, self._host)
            except StorageError as error:
                # If the database stays unreachable, the agent stops the job.
                log.warning("could not record an intent: %s", error.message)
                await asyncio.sleep(INTENT_RETRY_SECONDS)
            else:
                return

    async def _deliver(self, kind: TaskKind, finished: JobFinished, signed: SignedMessage) -> None:
        """Upload the result, then forward the report, from which the engine learns about it."""
        if kind in OUTPUT_NAMES and not self._is_over:
            path = self._services.artifacts.work_dir(self.claim.task_id) / OUTPUT_NAMES[kind]
            content = await self._services.transfer.describe_result(path)
            if (content.sha256, content.size) != (finished.sha256, finished.size):
                raise IntegrityError("The result was changed on the crypto host.", "Submit the request again.")

            async def renew() -> ResultGrant:
                return await self._request_result_grant(content)

            await self._services.transfer.upload(path, content, await renew(), renew)
        self._send(SignedReport(report=signed))
        self.forget()

    async def _request_result_grant(self, content: ResultContent) -> ResultGrant:
        grant = (await self._request_grants(result=content)).result
        assert grant is not None
        return grant

    async def _request_grants(self, inputs: tuple[str, ...] = (), result: ResultContent | None = None) -> IssueGrants:
        """Request grants from the engine. Raises :class:`WorkerError` if it does not answer."""
        task_id, number = self.claim.task_id, self.claim.number
        async with self._grant_lock:
            self._requested = GrantsRequested(task_id=task_id, fencing_token=number, inputs=inputs, result=result)
            self._grants = asyncio.get_running_loop().create_future()
            self._send(self._requested)
            try:
                return await asyncio.wait_for(self._grants, GRANT_SECONDS)
            except TimeoutError:
                raise WorkerError("The server did not grant access to the object store.", "Check the server.") from None
            finally:
                self._requested = None

    def _is_answer(self, answer: IssueGrants) -> bool:
        """Return whether the grants are those that the job has requested, and waits for."""
        request = self._requested
        if request is None or self._grants is None or self._grants.done():
            return False
        if request.result is not None:
            return answer.result is not None and answer.result.sha256 == request.result.sha256
        return set(request.inputs) <= {grant.sha256 for grant in answer.inputs}

    async def _delete_files(self, sha256s: tuple[str, ...]) -> None:
        try:
            await run_uncancellable(partial(self._services.artifacts.delete_work, self.claim.task_id))
            await self._services.inputs.release(sha256s)
        except StorageError as error:
            log.warning("could not delete the files of task %s: %s", self.claim.task_id, error.message)

    def _send(self, report: AgentReport) -> None:
        if not self._is_over:
            self._services.outbox.send(self._host, report)


def _find_kind(start: StartJob) -> TaskKind:
    """Return the kind of the task. Raises :class:`IntegrityError` if the order does not belong to the instruction."""
    message = _decode_order(start.order).message
    if not isinstance(message, RunJob) or message.job.task.id != start.task_id:
        raise IntegrityError("The order of a job does not belong to it.", "Update the server.")
    return message.job.task.kind


def _decode_order(order: SignedMessage) -> Order:
    """Return the content of an order. Only its worker verifies it."""
    try:
        return _order_decoder.decode(order.body)
    except JSON_ERRORS:
        raise WorkerError("The crypto host cannot read an order.", "Update Sealyard on the crypto host.") from None


def _first(errors: BaseExceptionGroup[SealyardError]) -> SealyardError:
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, SealyardError)
    return first
