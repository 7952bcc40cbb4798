"""The worker's loop: take messages, do jobs side by side, answer questions, say every second that it lives."""

from __future__ import annotations

import asyncio
import errno
import os
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from sealyard.model.errors import SealyardError, StorageError, WorkerError
from sealyard.model.jobs import (
    Answer,
    Ask,
    Beat,
    Broken,
    Finished,
    Job,
    NotReady,
    Permit,
    Ready,
    Run,
    Stop,
    Stopped,
    Unlock,
)
from sealyard.model.tasks import TaskKind
from sealyard.model.workspace import Places
from sealyard.storage.artifacts import FileArtifacts
from sealyard.worker.bench import Bench
from sealyard.worker.channel import Channel
from sealyard.worker.encrypting import encrypt
from sealyard.worker.intents import IntentLog
from sealyard.worker.judging import judge, judge_purpose
from sealyard.worker.keyroom import KeyRoom
from sealyard.worker.packaging import package
from sealyard.worker.progress import JobStoppedError
from sealyard.worker.signing import sign

BEAT_SECONDS = 0.1
SILENCE_BEATS = 10
"""At least every so many beats a job is spoken of, with or without progress."""

WORKS: dict[TaskKind, Callable[[Bench], Awaitable[Finished]]] = {
    TaskKind.PACKAGING: package,
    TaskKind.ENCRYPTION: encrypt,
    TaskKind.SIGNING: sign,
}


async def serve(channel: Channel) -> int:
    """Runs until the engine's end of the pipe closes, which ends the process."""
    channel.listen()
    unlock = await channel.receive()
    if not isinstance(unlock, Unlock):
        return 2
    try:
        keys = await asyncio.to_thread(KeyRoom, unlock)
    except SealyardError as error:
        channel.send(NotReady(error=error.to_value()))
        return 0
    channel.send(Ready(pid=os.getpid()))
    service = _Service(channel, keys, Path(unlock.workspace))
    await service.run()
    return 0


class _Service:
    def __init__(self, channel: Channel, keys: KeyRoom, workspace: Path) -> None:
        self._channel = channel
        self._keys = keys
        self._artifacts = FileArtifacts(Places(workspace).artifacts)
        self._intents = IntentLog(Places(workspace).intents)
        self._benches: dict[str, Bench] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._said: dict[str, tuple[int, int]] = {}
        """By task: the bytes last spoken of, and in which beat."""
        self._answering: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            group.create_task(self._take_all())

    async def _take_all(self) -> None:
        while True:
            self._take(await self._channel.receive())

    def _take(self, message: object) -> None:
        match message:
            case Run(job=job):
                bench = Bench(job, self._channel, self._keys, self._artifacts, self._intents)
                self._benches[job.task.id] = bench
                self._running[job.task.id] = asyncio.create_task(self._do(job, bench))
            case Permit(task_id=task_id, fence=fence):
                waiting = self._benches.get(task_id)
                if waiting is not None and waiting.task.fence == fence and not waiting.permit.done():
                    waiting.permit.set_result(None)
            case Stop(task_id=task_id):
                self._stop(task_id)
            case Ask():
                answering = asyncio.create_task(self._answer(message))
                self._answering.add(answering)
                answering.add_done_callback(self._answering.discard)

    def _stop(self, task_id: str) -> None:
        bench = self._benches.get(task_id)
        if bench is None:
            return
        bench.progress.stop()
        if not bench.permit.done():
            bench.permit.set_exception(JobStoppedError())

    async def _do(self, job: Job, bench: Bench) -> None:
        task = job.task
        try:
            judge(task)
            judge_purpose(task, await bench.signing_purpose())
            outcome: Finished | Broken | Stopped = await WORKS[task.kind](bench)
        except BaseException as error:
            outcome = _unfinished(bench, error)
        # What other threads still do for a job that broke down ends at their next piece.
        bench.progress.stop()
        if isinstance(outcome, Finished) and task.id in self._said:
            self._channel.send(_beat_of(bench))
        self._channel.send(outcome)
        if bench.permit.done():
            bench.permit.exception()
        del self._benches[task.id], self._running[task.id]
        self._said.pop(task.id, None)

    async def _answer(self, ask: Ask) -> None:
        try:
            answer = await self._keys.answer(ask.number, ask.question)
        except SealyardError as error:
            answer = Answer(number=ask.number, error=error.to_value())
        except Exception as error:
            answer = Answer(number=ask.number, error=_unexpected(error).to_value())
        self._channel.send(answer)

    async def _beat(self) -> None:
        beat = 0
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            beat += 1
            for task_id, bench in self._benches.items():
                done, at = self._said.get(task_id, (-1, beat))
                if bench.progress.done == done and beat - at < SILENCE_BEATS:
                    continue
                self._said[task_id] = (bench.progress.done, beat)
                self._channel.send(_beat_of(bench))


def _beat_of(bench: Bench) -> Beat:
    """Padding and IVs pass by too: what is done is never said to be more than all there is."""
    progress = bench.progress
    done = min(progress.done, progress.total)
    return Beat(task_id=bench.task.id, fence=bench.task.fence, done=done, total=progress.total)


def _unfinished(bench: Bench, error: BaseException) -> Broken | Stopped:
    task = bench.task
    if isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, JobStoppedError):
        return Stopped(task_id=task.id, fence=task.fence)
    known = error if isinstance(error, SealyardError) else _unexpected(error)
    return Broken(task_id=task.id, fence=task.fence, error=known.to_value())


def _unexpected(error: BaseException) -> SealyardError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError("The disk is full.", "Make room, then ask again.")
    if isinstance(error, OSError):
        return StorageError(f"The disk refused: {error.strerror}.", "Check the workspace's folder, then ask again.")
    # The trace goes to the worker's log; a message could quote what it should not.
    traceback.print_exception(error)
    return WorkerError(f"The crypto worker failed unexpectedly ({type(error).__name__}).", "Its log says more.")
