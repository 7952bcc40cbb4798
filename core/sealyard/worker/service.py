"""The worker's main loop: receive messages, run jobs concurrently, handle key requests and send heartbeats."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from sealyard.confinement import Confinement
from sealyard.confinement.paths import worker_paths
from sealyard.fs.atomic import is_disk_full
from sealyard.model.errors import DiskFullError, SealyardError, StorageError, WorkerError, WorkspaceError
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
    WorkerReady,
    WorkerStartFailed,
)
from sealyard.model.workspace import WorkspacePaths
from sealyard.storage.artifacts import FileArtifacts
from sealyard.worker.approval_check import verify_approvals
from sealyard.worker.channel import Channel
from sealyard.worker.holder_channel import HolderChannel
from sealyard.worker.job_context import JobCancelledError, JobContext
from sealyard.worker.jobs.encrypt import encrypt
from sealyard.worker.jobs.package import package
from sealyard.worker.jobs.sign import sign
from sealyard.worker.key_service import KeyService

HEARTBEAT_INTERVAL = 0.1  # seconds
MAX_SILENT_HEARTBEATS = 10
"""A heartbeat is sent for each job at least once in this many intervals, even without progress."""

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
            service = _Service(channel, keys, holder, paths)
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


class _Service:
    def __init__(self, channel: Channel, keys: KeyService, holder: HolderChannel, paths: WorkspacePaths) -> None:
        self._channel = channel
        self._keys = keys
        self._artifacts = FileArtifacts(paths.artifacts)
        self._holder = holder
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

    def _dispatch(self, message: object) -> None:
        match message:
            case RunJob(job=job):
                context = JobContext(job, self._channel, self._keys, self._artifacts, self._holder)
                self._contexts[job.task.id] = context
                self._job_tasks[job.task.id] = asyncio.create_task(self._run_job(job, context))
            case BuildSecretRecorded() | SigningPermitted():
                self._on_answer(message)
            case StopJob(task_id=task_id) if task_id in self._contexts:
                self._contexts[task_id].stop()
            case KeyRequest():
                request_task = asyncio.create_task(self._handle_key_request(message))
                self._request_tasks.add(request_task)
                request_task.add_done_callback(self._request_tasks.discard)

    def _on_answer(self, answer: BuildSecretRecorded | SigningPermitted) -> None:
        """Continue the job that waits for this answer of the engine. Ignores answers to an earlier attempt."""
        context = self._contexts.get(answer.task_id)
        if context is None or context.task.fencing_token != answer.fencing_token:
            return
        future = context.signing_permitted if isinstance(answer, SigningPermitted) else context.build_secret_recorded
        if not future.done():
            future.set_result(None)

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
            self._channel.send(_create_heartbeat(context))
        self._channel.send(outcome)
        del self._contexts[task.id], self._job_tasks[task.id]
        self._last_heartbeats.pop(task.id, None)

    async def _handle_key_request(self, request: KeyRequest) -> None:
        try:
            response = await self._keys.handle(request.request_id, request.command)
        except SealyardError as error:
            response = KeyResponse(request_id=request.request_id, error=error.to_info())
        except Exception as error:
            response = KeyResponse(request_id=request.request_id, error=_to_sealyard_error(error).to_info())
        self._channel.send(response)

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
                self._channel.send(_create_heartbeat(context))


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
