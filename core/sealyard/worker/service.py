"""The worker's main loop: receive messages, run jobs concurrently, handle key requests and send heartbeats."""

from __future__ import annotations

import asyncio
import logging
import os
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path

from sealyard.confinement import Confinement
from sealyard.confinement.paths import worker_paths
from sealyard.fs.atomic import is_disk_full
from sealyard.keys.derived_keys import derive_zone_keys
from sealyard.model.errors import (
    ConflictError,
    DiskFullError,
    IntegrityError,
    SealyardError,
    StorageError,
    WorkerError,
    WorkspaceError,
)
from sealyard.model.key_holder_messages import OpenKeys
from sealyard.model.signed_message import SignedMessage
from sealyard.model.tasks import TaskKind
from sealyard.model.worker_messages import (
    BuildSecretRecorded,
    Heartbeat,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyRequest,
    KeyResponse,
    RefusedMeasure,
    RunJob,
    SigningPermitted,
    StopJob,
    ToWorker,
    WorkerReady,
    WorkerStartFailed,
)
from sealyard.model.workspace import WorkspacePaths
from sealyard.model.zone_messages import SealedCommand
from sealyard.storage.artifacts import FileArtifacts
from sealyard.worker.approval_check import verify_approvals
from sealyard.worker.channel import Channel
from sealyard.worker.holder_channel import HolderChannel
from sealyard.worker.job_context import JobCancelledError, JobContext
from sealyard.worker.jobs.encrypt import encrypt
from sealyard.worker.jobs.package import package
from sealyard.worker.jobs.sign import sign
from sealyard.worker.key_service import KeyService
from sealyard.worker.orders import OrderVerifier, create_refusal
from sealyard.worker.reports import ReportSender
from sealyard.worker.sealed_commands import open_command, seal_response

HEARTBEAT_INTERVAL = 0.1  # seconds
MAX_SILENT_HEARTBEATS = 10
"""A heartbeat is sent for each job at least once in this many intervals, even without progress."""

log = logging.getLogger(__name__)

JOB_HANDLERS: dict[TaskKind, Callable[[JobContext], Awaitable[JobFinished]]] = {
    TaskKind.PACKAGING: package,
    TaskKind.ENCRYPTION: encrypt,
    TaskKind.SIGNING: sign,
}


def run(channel: Channel, holder: HolderChannel, provider_fds: Sequence[int], confinement: Confinement) -> int:
    """Run the worker until the engine or the key holder closes its end of the connection, which ends the process.

    ``provider_fds``: the sockets to the processes of the key providers, in the order of :attr:`OpenKeys.providers`.
    Opens the keys, then restricts the process, and only then starts threads and accepts jobs. Returns the exit code if
    the keys could not be opened.
    """
    open_keys = holder.receive_keys()
    paths = WorkspacePaths(Path(open_keys.workspace))
    with asyncio.Runner() as runner:
        runner.get_loop()  # creates a pair of sockets, which the confinement forbids
        try:
            _check_owner(paths.root)
            keys = KeyService(open_keys, holder, provider_fds)
            service = _Service(channel, keys, holder, open_keys)
        except (OSError, SealyardError) as error:
            reported_error = error if isinstance(error, SealyardError) else _to_sealyard_error(error)
            channel.send(WorkerStartFailed(error=reported_error.to_info()))
            return 0
        confinement.restrict(worker_paths(paths))
        runner.run(service.serve(confinement.refused))
    return 0


def _check_owner(workspace: Path) -> None:
    """Raise :class:`WorkspaceError` if the workspace belongs to another user.

    Root could open its files otherwise, but the worker gives up the privileges of root.
    """
    if workspace.stat().st_uid != os.geteuid():
        raise WorkspaceError(
            "The workspace belongs to another user, and the crypto worker cannot read that user's files.",
            "Run Sealyard as the owner of the workspace folder.",
        )


class _Zone:
    """What the worker of a crypto host verifies orders with, and the keys of its zone."""

    def __init__(self, open_keys: OpenKeys, order_key: bytes) -> None:
        self.keys = derive_zone_keys(open_keys.master_key)
        self.verifier = OrderVerifier(order_key, open_keys.workspace_id)


class _Service:
    def __init__(self, channel: Channel, keys: KeyService, holder: HolderChannel, open_keys: OpenKeys) -> None:
        self._channel = channel
        self._keys = keys
        self._artifacts = FileArtifacts(WorkspacePaths(Path(open_keys.workspace)).artifacts)
        self._holder = holder
        self._zone = _Zone(open_keys, open_keys.order_key) if open_keys.order_key is not None else None
        report_key = self._zone.keys.report_key if self._zone is not None else None
        self._reports = ReportSender(channel, open_keys.workspace_id, report_key)
        self._contexts: dict[str, JobContext] = {}
        self._job_tasks: dict[str, asyncio.Task[None]] = {}
        self._last_heartbeats: dict[str, tuple[int, int]] = {}
        """By task id: the byte count that was last sent, and the number of the interval in which it was sent."""
        self._request_tasks: set[asyncio.Task[None]] = set()

    async def serve(self, refused: tuple[RefusedMeasure, ...]) -> None:
        """Report that the worker is ready, and handle messages. ``refused``: the refused measures of confinement."""
        self._holder.start()
        self._keys.start()
        self._channel.start()
        self._channel.send(WorkerReady(pid=os.getpid(), refused=refused))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_heartbeats())
            group.create_task(self._read_messages())

    async def _read_messages(self) -> None:
        while True:
            self._dispatch(await self._channel.receive())

    def _dispatch(self, message: ToWorker) -> None:
        try:
            match message:
                case StopJob(task_id=task_id):
                    # Needs no signature: it can only delay a task.
                    if task_id in self._contexts:
                        self._contexts[task_id].stop()
                case SignedMessage():
                    self._execute_order(message)
                case _ if self._zone is not None:
                    raise IntegrityError(
                        "An unsigned order was refused.", "Check which programs run as the user of the crypto host."
                    )
                case _:
                    self._execute(message)
        except SealyardError as error:
            log.warning("refused an order: %s", error)
            running_jobs = {task_id: context.task.fencing_token for task_id, context in self._contexts.items()}
            self._channel.send(create_refusal(message, error.to_info(), running_jobs))

    def _execute_order(self, signed: SignedMessage) -> None:
        """Verify an order, and execute it. Raises the :class:`SealyardError` for which it is refused."""
        if self._zone is None:
            raise IntegrityError("A signed order was refused: this is not a crypto host.", "Use a crypto host.")
        order = self._zone.verifier.verify(signed)
        if isinstance(order, SealedCommand):
            content = open_command(self._zone.keys.sealing_key, order)
            request = KeyRequest(request_id=content.request_id, command=content.command)
            self._start_request(self._handle_sealed_request(request, content.reply_key))
            return
        if isinstance(order, RunJob) and order.job.task.id in self._contexts:
            raise ConflictError("An earlier job of this task is still running.", "Wait until it has ended.")
        self._execute(order)

    def _execute(self, message: RunJob | BuildSecretRecorded | SigningPermitted | KeyRequest) -> None:
        match message:
            case RunJob(job=job):
                context = JobContext(job, self._reports, self._keys, self._artifacts, self._holder)
                self._contexts[job.task.id] = context
                self._job_tasks[job.task.id] = asyncio.create_task(self._run_job(job, context))
            case BuildSecretRecorded() | SigningPermitted():
                self._on_answer(message)
            case KeyRequest():
                self._start_request(self._handle_request(message))

    def _start_request(self, work: Coroutine[None, None, None]) -> None:
        request_task = asyncio.create_task(work)
        self._request_tasks.add(request_task)
        request_task.add_done_callback(self._request_tasks.discard)

    def _on_answer(self, answer: BuildSecretRecorded | SigningPermitted) -> None:
        """Continue the job that waits for this answer of the engine. Ignores answers to an earlier attempt."""
        context = self._contexts.get(answer.task_id)
        if context is None or context.task.fencing_token != answer.fencing_token:
            return
        if isinstance(answer, SigningPermitted):
            context.permit_signing(answer.sha256)
        else:
            context.confirm_build_secret()

    async def _run_job(self, job: Job, context: JobContext) -> None:
        task = job.task
        try:
            verify_approvals(task)
            await context.check_key_purpose()
            outcome: JobFinished | JobFailed | JobStopped = await JOB_HANDLERS[task.kind](context)
        except BaseException as error:
            outcome = _to_outcome(context, error)
        context.close()
        if isinstance(outcome, JobFinished) and task.id in self._last_heartbeats:
            self._reports.send(_create_heartbeat(context))
        self._reports.send(outcome)
        del self._contexts[task.id], self._job_tasks[task.id]
        self._last_heartbeats.pop(task.id, None)

    async def _handle_request(self, request: KeyRequest) -> None:
        self._channel.send(await self._respond(request))

    async def _handle_sealed_request(self, request: KeyRequest, reply_key: bytes) -> None:
        response = await self._respond(request)
        try:
            self._reports.send(seal_response(reply_key, response))
        except ValueError as error:  # the reply key is not a valid one
            log.warning("could not encrypt the response to a key command: %s", error)

    async def _respond(self, request: KeyRequest) -> KeyResponse:
        try:
            return await self._keys.handle(request.request_id, request.command)
        except SealyardError as error:
            return KeyResponse(request_id=request.request_id, error=error.to_info())
        except Exception as error:
            return KeyResponse(request_id=request.request_id, error=_to_sealyard_error(error).to_info())

    async def _send_heartbeats(self) -> None:
        interval_number = 0
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            interval_number += 1
            for task_id, context in self._contexts.items():
                done, last_interval_number = self._last_heartbeats.get(task_id, (-1, interval_number))
                if context.progress.done == done and interval_number - last_interval_number < MAX_SILENT_HEARTBEATS:
                    continue
                self._last_heartbeats[task_id] = (context.progress.done, interval_number)
                self._reports.send(_create_heartbeat(context))


def _create_heartbeat(context: JobContext) -> Heartbeat:
    """Return a heartbeat whose ``done`` is capped at ``total``, because padding and IVs are counted too."""
    progress = context.progress
    done = min(progress.done, progress.total)
    return Heartbeat(task_id=context.task.id, fencing_token=context.task.fencing_token, done=done, total=progress.total)


def _to_outcome(context: JobContext, error: BaseException) -> JobFailed | JobStopped:
    task = context.task
    if isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, JobCancelledError):
        return JobStopped(task_id=task.id, fencing_token=task.fencing_token)
    sealyard_error = error if isinstance(error, SealyardError) else _to_sealyard_error(error)
    return JobFailed(task_id=task.id, fencing_token=task.fencing_token, error=sealyard_error.to_info())


def _to_sealyard_error(error: BaseException) -> SealyardError:
    if isinstance(error, OSError) and is_disk_full(error):
        return DiskFullError("The disk is full.", "Free some space; the task then continues.")
    if isinstance(error, OSError):
        return StorageError(
            f"Disk error: {error.strerror}.", "Check the folder of the workspace, then submit the request again."
        )
    # The traceback goes to the worker's log only: the exception's message could quote secret data.
    traceback.print_exception(error)
    return WorkerError(f"The crypto worker failed unexpectedly ({type(error).__name__}).", "See the worker log.")
