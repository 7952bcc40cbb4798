"""The worker's loop: take messages, do jobs side by side, answer questions, say every second that it lives."""

from __future__ import annotations

import asyncio
import errno
import os
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from sealyard.model.errors import SealyardError, StorageError, WorkerError
from sealyard.model.tasks import TaskKind
from sealyard.model.worker_messages import (
    Heartbeat,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyRequest,
    KeyResponse,
    OpenKeyStore,
    RunJob,
    SigningPermitted,
    StopJob,
    WorkerReady,
    WorkerStartFailed,
)
from sealyard.model.workspace import WorkspacePaths
from sealyard.storage.artifacts import FileArtifacts
from sealyard.worker.approval_check import check_key_purpose, verify_approvals
from sealyard.worker.channel import Channel
from sealyard.worker.intent_log import IntentLog
from sealyard.worker.job_context import JobCancelledError, JobContext
from sealyard.worker.jobs.encrypt import encrypt
from sealyard.worker.jobs.package import package
from sealyard.worker.jobs.sign import sign
from sealyard.worker.key_service import KeyService

HEARTBEAT_INTERVAL = 0.1
MAX_SILENT_BEATS = 10
"""At least every so many beats a job is spoken of, with or without progress."""

JOB_HANDLERS: dict[TaskKind, Callable[[JobContext], Awaitable[JobFinished]]] = {
    TaskKind.PACKAGING: package,
    TaskKind.ENCRYPTION: encrypt,
    TaskKind.SIGNING: sign,
}


async def serve(channel: Channel) -> int:
    """Runs until the engine's end of the pipe closes, which ends the process."""
    channel.start()
    unlock = await channel.receive()
    if not isinstance(unlock, OpenKeyStore):
        return 2
    try:
        keys = await asyncio.to_thread(KeyService, unlock)
    except SealyardError as error:
        channel.send(WorkerStartFailed(error=error.to_info()))
        return 0
    channel.send(WorkerReady(pid=os.getpid()))
    service = _Service(channel, keys, Path(unlock.workspace))
    await service.run()
    return 0


class _Service:
    def __init__(self, channel: Channel, keys: KeyService, workspace: Path) -> None:
        self._channel = channel
        self._keys = keys
        self._artifacts = FileArtifacts(WorkspacePaths(workspace).artifacts)
        self._intents = IntentLog(WorkspacePaths(workspace).intents)
        self._benches: dict[str, JobContext] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._last_heartbeat: dict[str, tuple[int, int]] = {}
        """By task: the bytes last spoken of, and in which beat."""
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            group.create_task(self._read_messages())

    async def _read_messages(self) -> None:
        while True:
            self._dispatch(await self._channel.receive())

    def _dispatch(self, message: object) -> None:
        match message:
            case RunJob(job=job):
                bench = JobContext(job, self._channel, self._keys, self._artifacts, self._intents)
                self._benches[job.task.id] = bench
                self._running[job.task.id] = asyncio.create_task(self._run_job(job, bench))
            case SigningPermitted(task_id=task_id, fencing_token=fencing_token):
                waiting = self._benches.get(task_id)
                if (
                    waiting is not None
                    and waiting.task.fencing_token == fencing_token
                    and not waiting.signing_permitted.done()
                ):
                    waiting.signing_permitted.set_result(None)
            case StopJob(task_id=task_id):
                self._stop(task_id)
            case KeyRequest():
                answering = asyncio.create_task(self._answer(message))
                self._answering.add(answering)
                answering.add_done_callback(self._answering.discard)

    def _stop(self, task_id: str) -> None:
        bench = self._benches.get(task_id)
        if bench is None:
            return
        bench.progress.stop()
        if not bench.signing_permitted.done():
            bench.signing_permitted.set_exception(JobCancelledError())

    async def _run_job(self, job: Job, bench: JobContext) -> None:
        task = job.task
        try:
            verify_approvals(task)
            check_key_purpose(task, await bench.signing_key_purpose())
            outcome: JobFinished | JobFailed | JobStopped = await JOB_HANDLERS[task.kind](bench)
        except BaseException as error:
            outcome = _failure(bench, error)
        # What other threads still do for a job that broke down ends at their next piece.
        bench.progress.stop()
        if isinstance(outcome, JobFinished) and task.id in self._last_heartbeat:
            self._channel.send(_heartbeat(bench))
        self._channel.send(outcome)
        if bench.signing_permitted.done():
            bench.signing_permitted.exception()
        del self._benches[task.id], self._running[task.id]
        self._last_heartbeat.pop(task.id, None)

    async def _answer(self, ask: KeyRequest) -> None:
        try:
            answer = await self._keys.handle(ask.request_id, ask.question)
        except SealyardError as error:
            answer = KeyResponse(request_id=ask.request_id, error=error.to_info())
        except Exception as error:
            answer = KeyResponse(request_id=ask.request_id, error=_unexpected(error).to_info())
        self._channel.send(answer)

    async def _beat(self) -> None:
        beat = 0
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            beat += 1
            for task_id, bench in self._benches.items():
                done, at = self._last_heartbeat.get(task_id, (-1, beat))
                if bench.progress.done == done and beat - at < MAX_SILENT_BEATS:
                    continue
                self._last_heartbeat[task_id] = (bench.progress.done, beat)
                self._channel.send(_heartbeat(bench))


def _heartbeat(bench: JobContext) -> Heartbeat:
    """Padding and IVs pass by too: what is done is never said to be more than all there is."""
    progress = bench.progress
    done = min(progress.done, progress.total)
    return Heartbeat(task_id=bench.task.id, fencing_token=bench.task.fencing_token, done=done, total=progress.total)


def _failure(bench: JobContext, error: BaseException) -> JobFailed | JobStopped:
    task = bench.task
    if isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, JobCancelledError):
        return JobStopped(task_id=task.id, fencing_token=task.fencing_token)
    known = error if isinstance(error, SealyardError) else _unexpected(error)
    return JobFailed(task_id=task.id, fencing_token=task.fencing_token, error=known.to_info())


def _unexpected(error: BaseException) -> SealyardError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError("The disk is full.", "Make room, then ask again.")
    if isinstance(error, OSError):
        return StorageError(f"The disk refused: {error.strerror}.", "Check the workspace's folder, then ask again.")
    # The trace goes to the worker's log; a message could quote what it should not.
    traceback.print_exception(error)
    return WorkerError(f"The crypto worker failed unexpectedly ({type(error).__name__}).", "Its log says more.")
