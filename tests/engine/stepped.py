"""Doubles of the store, the threads and the worker with which a test chooses the order of everything concurrent.

A gate is something the engine waits for: a commit that becomes durable, a thread that finishes, a call of the bus
that returns, a report of the worker. Between two gates the event loop runs until it is idle, so the order of the
gates determines the outcome.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Self

from sealyard.engine.state.tables import INDEXES
from sealyard.model.errors import StorageError
from sealyard.model.grants import InputGrant
from sealyard.model.worker_messages import Job
from sealyard.storage.artifacts import ArtifactStore
from sealyard.storage.batch import Change, WriteBatch, encode_batch, iter_changes
from sealyard.storage.documents import TinyDocumentStore
from sealyard.storage.frame_format import EncodedBatch
from sealyard.storage.in_memory import InMemoryTables
from sealyard.storage.pending_log import PendingRecords
from tests.support.clock import FakeClock
from tests.support.fake_bus import FakeBus, FakeWorker
from tests.support.in_memory_keys import InMemoryKeys

GATED_MODULES = ("sealyard.engine.execution.results",)
"""Modules whose work in threads waits at a gate. Work of other modules runs immediately."""


class Gate(NamedTuple):
    name: str
    open: Callable[[], object]


class Gates:
    """The gates that are closed at the moment. While ``automatic`` is set, gates open immediately."""

    def __init__(self) -> None:
        self.automatic = True
        self.closed: list[Gate] = []

    def add(self, name: str, open_gate: Callable[[], object]) -> None:
        if self.automatic:
            open_gate()
        else:
            self.closed.append(Gate(name, open_gate))

    async def wait(self, name: str) -> None:
        """Wait until the gate with this name is opened."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def open_gate() -> None:
            if not future.done():
                future.set_result(None)

        self.add(name, open_gate)
        await future


class PendingCommit(NamedTuple):
    record: EncodedBatch
    undo: list[Change]
    durable: Future[None]


class SteppedDocuments(TinyDocumentStore):
    """A document store in memory: changes are visible at once, and durable when their gate opens, in order."""

    def __init__(self, gates: Gates, durable: dict[str, dict[str, bytes]], entries: list[bytes]) -> None:
        super().__init__(INDEXES)
        self._memory = InMemoryTables(INDEXES, durable)
        self._gates = gates
        self.entries = entries
        """All audit entries that became durable."""
        self.pending: list[PendingCommit] = []

    def submit(self, batch: WriteBatch) -> Future[None]:
        record = encode_batch(batch)
        with self._lock:
            commit = PendingCommit(record, self._memory.apply(iter_changes(record)), Future())
        self.pending.append(commit)
        if self._gates.automatic:
            self.sync()
        return commit.durable

    def sync(self) -> None:
        """Make the oldest pending commit durable."""
        commit = self.pending.pop(0)
        self._add(commit.record)
        commit.durable.set_result(None)

    def fail(self) -> None:
        """Roll back all pending commits, as on a full disk."""
        commits, self.pending = self.pending, []
        for commit in reversed(commits):
            self._memory.apply(commit.undo)
        for commit in commits:
            commit.durable.set_exception(StorageError("The disk is full.", "Make room."))

    def reopen_after_crash(self, survivors: int) -> Self:
        """Return the store of the next engine after a crash that the first ``survivors`` pending commits survived."""
        for commit in self.pending[:survivors]:
            self._add(commit.record)
        memory = self._memory.copy()
        for commit in reversed(self.pending[survivors:]):
            memory.apply(commit.undo)
        store = type(self)(self._gates, memory.tables, self.entries)
        store._pending_records = PendingRecords(self._pending_records.audit, self._pending_records.events)
        return store

    def discard_audit(self, moved_to: int) -> None:
        self._pending_records.discard_audit(moved_to)

    def close(self) -> None:
        return None

    def _add(self, record: EncodedBatch) -> None:
        self._pending_records.add(record)
        self.entries.extend(map(bytes, record.audit))


class SteppedExecutor(ThreadPoolExecutor):
    """Runs work on the calling thread: immediately, or when its gate opens."""

    def __init__(self, gates: Gates) -> None:
        super().__init__(1)
        self._gates = gates
        self._pending: list[Future[Any]] = []

    def discard(self) -> None:
        """Discard the work whose gates are closed, as a crash does."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        if _module_of(args[0] if args else fn) in GATED_MODULES:
            self._pending.append(future)
            self._gates.add("thread", run)
        else:
            run()
        return future


def _module_of(work: object) -> str:
    return str(getattr(getattr(work, "func", work), "__module__", ""))


class SteppedBus(FakeBus):
    """A bus whose calls return when their gate opens, and whose worker acts through gates.

    ``on_signed`` is called when the worker uses a signing key: as soon as it has the permission, unless it received
    a stop request before.
    """

    def __init__(self, gates: Gates, shelf: InMemoryKeys, clock: FakeClock, artifacts: ArtifactStore) -> None:
        super().__init__(shelf, clock)
        self._gates = gates
        self._artifacts = artifacts
        self.on_signed: Callable[[Job], None] = lambda job: None

    async def prepare(self, task_id: str, fencing_token: int) -> str:
        await self._gates.wait("worker starts")
        return await super().prepare(task_id, fencing_token)

    async def run(self, job: Job, inputs: tuple[InputGrant, ...] = ()) -> None:
        await self._gates.wait("job sent")
        await super().run(job, inputs)
        if job.task.signing_key is None:
            self._gates.add("worker finishes", lambda: self._finish_job(job))
        else:
            self._gates.add("worker asks", lambda: self._ask_to_sign(job))

    async def permit_signing(self, task_id: str, fencing_token: int, sha256: str) -> None:
        await super().permit_signing(task_id, fencing_token, sha256)
        job = self.jobs.get(task_id)
        if job is not None and job.task.fencing_token == fencing_token and task_id not in self.stops:
            self.on_signed(job)
            self._gates.add("worker finishes", lambda: self._finish_job(job))
        await self._gates.wait("permission sent")

    async def stop(self, task_id: str) -> None:
        job = self.jobs.get(task_id)
        await super().stop(task_id)
        if job is not None:
            self._gates.add("worker stops", lambda: self._stop_worker(job))
        await self._gates.wait("stop sent")

    def crash_worker(self, task_id: str) -> None:
        """Crash the worker that has the task, if there is one."""
        if task_id in self.jobs:
            self._worker(self.jobs[task_id]).crash()

    def _has(self, job: Job) -> bool:
        return self.jobs.get(job.task.id) is job

    def _worker(self, job: Job) -> FakeWorker:
        return FakeWorker(self, job, self._artifacts, self._clock)

    def _ask_to_sign(self, job: Job) -> None:
        if self._has(job):
            self._worker(job).request_signing(signed_input(job.task.id))

    def _finish_job(self, job: Job) -> None:
        if not self._has(job):
            return
        if job.task.format or job.task.signing_key is None:
            self._worker(job).finish()
        else:
            self._worker(job).finish_signature()

    def _stop_worker(self, job: Job) -> None:
        if self._has(job):
            self._worker(job).stop()


def signed_input(task_id: str) -> bytes:
    return hashlib.sha256(task_id.encode()).digest()


async def settle() -> None:
    """Wait until the event loop has nothing to do except timers."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(0)
        if not loop._ready:  # type: ignore[attr-defined]
            return
