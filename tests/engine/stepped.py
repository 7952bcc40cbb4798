"""An engine whose waits end one at a time, in the order that a test chooses.

The store, the threads and the worker are behind gates. A gate is something the engine waits for: a commit that
becomes durable, a thread that finishes, a call of the bus that returns, a report of the worker. Between two gates
the event loop runs until nothing is left to do, so the order of the gates decides everything that can differ.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self

from sealyard.engine.state.tables import INDEXES
from sealyard.model.errors import StorageError
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
"""Whose work in threads is a gate; other threads finish at once."""


class Gate(NamedTuple):
    name: str
    open: Callable[[], object]


class Gates:
    """The gates that are closed now. While ``automatic``, they open by themselves."""

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
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def open_gate() -> None:
            if not opened.done():
                opened.set_result(None)

        self.add(name, open_gate)
        await opened


class Unsynced(NamedTuple):
    record: EncodedBatch
    undo: list[Change]
    durable: Future[None]


class SteppedDocuments(TinyDocumentStore):
    """A document store in memory: changes are visible at once, and durable when their gate opens, in order."""

    def __init__(self, gates: Gates, durable: dict[str, dict[str, bytes]], entries: list[bytes]) -> None:
        super().__init__(folder=Path(), indexes=INDEXES)
        self._memory = InMemoryTables(INDEXES, durable)
        self._gates = gates
        self.entries = entries
        """All audit entries that ever became durable."""
        self.unsynced: list[Unsynced] = []

    def submit(self, batch: WriteBatch) -> Future[None]:
        record = encode_batch(batch)
        with self._lock:
            waiting = Unsynced(record, self._memory.apply(iter_changes(record)), Future())
        self.unsynced.append(waiting)
        if self._gates.automatic:
            self.sync()
        return waiting.durable

    def sync(self) -> None:
        """Make the oldest change that is not durable yet durable."""
        synced = self.unsynced.pop(0)
        self._add(synced.record)
        synced.durable.set_result(None)

    def fail(self) -> None:
        """Take back all changes that are not durable yet, as a full disk does."""
        failed, self.unsynced = self.unsynced, []
        for waiting in reversed(failed):
            self._memory.apply(waiting.undo)
        for waiting in failed:
            waiting.durable.set_exception(StorageError("The disk is full.", "Make room."))

    def after_crash(self, survivors: int) -> Self:
        """The store as the next engine finds it, if so many of the changes that are not durable yet survived."""
        for waiting in self.unsynced[:survivors]:
            self._add(waiting.record)
        memory = self._memory.copy()
        for waiting in reversed(self.unsynced[survivors:]):
            memory.apply(waiting.undo)
        store = type(self)(self._gates, memory.tables, self.entries)
        store._pending_records = PendingRecords(self._pending_records.audit, self._pending_records.events)
        return store

    def forget_audit(self, moved_to: int) -> None:
        self._pending_records.discard_audit(moved_to)

    def close(self) -> None:
        return None

    def _add(self, record: EncodedBatch) -> None:
        self._pending_records.add(record)
        self.entries.extend(map(bytes, record.audit))


class SteppedExecutor(ThreadPoolExecutor):
    """Runs work on the calling thread: at once, or when its gate opens."""

    def __init__(self, gates: Gates) -> None:
        super().__init__(1)
        self._gates = gates
        self._waiting: list[Future[Any]] = []

    def discard(self) -> None:
        """Drop the work whose gates are closed, as a crash does."""
        for done in self._waiting:
            done.cancel()
        self._waiting.clear()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()

        def run() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(fn(*args, **kwargs))
            except BaseException as error:
                done.set_exception(error)

        if _module_of(args[0] if args else fn) in GATED_MODULES:
            self._waiting.append(done)
            self._gates.add("thread", run)
        else:
            run()
        return done


def _module_of(work: object) -> str:
    return str(getattr(getattr(work, "func", work), "__module__", ""))


class SteppedBus(FakeBus):
    """A bus whose calls return when their gate opens, and whose worker acts through gates.

    ``signed`` is called when the worker uses a signing key: as soon as it has the permission and was not asked to
    stop before.
    """

    def __init__(self, gates: Gates, shelf: InMemoryKeys, clock: FakeClock, artifacts: ArtifactStore) -> None:
        super().__init__(shelf, clock)
        self._gates = gates
        self._artifacts = artifacts
        self.signed: Callable[[Job], None] = lambda job: None
        self.silent = False
        """While set, the worker does nothing with its jobs."""

    async def prepare(self, task_id: str) -> str:
        await self._gates.wait("worker starts")
        return await super().prepare(task_id)

    async def run(self, job: Job) -> None:
        await self._gates.wait("job sent")
        await super().run(job)
        if self.silent:
            return
        if job.task.signing_key is None:
            self._gates.add("worker finishes", lambda: self._finish(job))
        else:
            self._gates.add("worker asks", lambda: self._ask_to_sign(job))

    async def permit_signing(self, task_id: str, fence: int) -> None:
        await super().permit_signing(task_id, fence)
        job = self.jobs.get(task_id)
        if job is not None and job.task.fencing_token == fence and task_id not in self.stops:
            self.signed(job)
            self._gates.add("worker finishes", lambda: self._finish(job))
        await self._gates.wait("permission sent")

    async def stop(self, task_id: str) -> None:
        job = self.jobs.get(task_id)
        await super().stop(task_id)
        if job is not None:
            self._gates.add("worker stops", lambda: self._leave(job))
        await self._gates.wait("stop sent")

    def lose(self, task_id: str) -> None:
        """The worker dies, if it has the task."""
        if task_id in self.jobs:
            self._worker(self.jobs[task_id]).crash()

    def _has(self, job: Job) -> bool:
        return self.jobs.get(job.task.id) is job

    def _worker(self, job: Job) -> FakeWorker:
        return FakeWorker(self, job, self._artifacts, self._clock)

    def _ask_to_sign(self, job: Job) -> None:
        if self._has(job):
            self._worker(job).request_signing(signed_input(job.task.id))

    def _finish(self, job: Job) -> None:
        if not self._has(job):
            return
        if job.task.format or job.task.signing_key is None:
            self._worker(job).finish()
        else:
            self._worker(job).finish_signature()

    def _leave(self, job: Job) -> None:
        if self._has(job):
            self._worker(job).stop()


def signed_input(task_id: str) -> bytes:
    return hashlib.sha256(task_id.encode()).digest()


async def settle() -> None:
    """Return when the event loop has nothing left to do but timers."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(0)
        if not loop._ready:  # type: ignore[attr-defined]
            return
