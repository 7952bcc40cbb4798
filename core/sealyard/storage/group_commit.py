"""Group commit: changes are seen in memory at once and are durable when their future is done.

One thread writes: all units waiting share one frame and one sync, and are answered after it, in order.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import AbstractContextManager
from threading import Condition, Lock, RLock, Thread

import msgspec

from sealyard.model.errors import SealyardError, StorageError
from sealyard.storage.batch import Change, WriteBatch, encode_batch, iter_changes
from sealyard.storage.frame_format import EncodedBatch
from sealyard.storage.in_memory import InMemoryTables
from sealyard.storage.journal import Journal
from sealyard.storage.pending_log import PendingRecords

MIN_COMPACTION_SIZE = 16 << 20  # bytes of journal


class _PendingCommit(msgspec.Struct):
    record: EncodedBatch
    undo: list[Change]
    future: Future[None]


class GroupCommitter:
    """Owns the journal and its thread. ``lock`` guards memory and outbox; whoever holds it sees no undo."""

    def __init__(self, journal: Journal, memory: InMemoryTables, outbox: PendingRecords, lock: RLock) -> None:
        self._journal = journal
        self._memory = memory
        self._outbox = outbox
        self._lock: AbstractContextManager[object] = lock
        self._wake = Condition(lock)
        self._writing = Lock()  # taken before self._lock, never the other way
        self._compacting = Lock()
        self._waiting: list[_PendingCommit] = []
        self._closed = False
        self._thread = Thread(target=self._run, name="sealyard-journal", daemon=True)
        self._thread.start()

    def submit(self, unit: WriteBatch) -> Future[None]:
        """Raises :class:`InvalidInputError` for what is no JSON and :class:`StorageError` once closed."""
        record = encode_batch(unit)
        future: Future[None] = Future()
        # From here on it cannot be cancelled: others may already have built on the change.
        future.set_running_or_notify_cancel()
        with self._wake:
            self._check_open()
            undo = self._memory.apply(iter_changes(record))
            self._waiting.append(_PendingCommit(record, undo, future))
            self._wake.notify()
        return future

    @property
    def wants_compaction(self) -> bool:
        return self._journal.position.offset > max(MIN_COMPACTION_SIZE, 2 * self._journal.snapshot_size)

    def compact(self, audit_moved_to: int) -> None:
        """See :meth:`DocumentStore.compact`. Raises :class:`StorageError`; then all is as before."""
        with self._compacting:
            with self._writing, self._lock:
                self._check_open()
                at = self._journal.position
                tables = self._durable().tables
                carried = self._outbox.after(audit_moved_to)
            self._journal.write_snapshot(at, tables)
            with self._writing:
                self._journal.rotate(at, carried)
                with self._lock:
                    self._outbox.discard_audit(audit_moved_to)

    def close(self) -> None:
        """Commits what waits, then ends the thread."""
        with self._wake:
            if self._closed:
                return
            self._closed = True
            self._wake.notify()
        self._thread.join()
        with self._compacting:
            self._journal.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("The store is closed.", "Open the workspace again.")

    def _durable(self) -> InMemoryTables:
        """Memory without what is still waiting; both locks are held, so nothing is being written."""
        memory = self._memory.copy()
        for each in reversed(self._waiting):
            memory.apply(each.undo)
        return memory

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if not self._waiting:
                    return
            self._commit()

    def _commit(self) -> None:
        with self._writing:
            with self._lock:
                group, self._waiting = self._waiting, []
            try:
                self._journal.append([msgspec.json.encode(each.record) for each in group])
            except Exception as error:
                # Whatever it is: nobody may wait for ever.
                answer = error if isinstance(error, SealyardError) else StorageError(f"Not stored: {error!r}.")
                self._undo(group, answer)
                return
            with self._lock:
                for each in group:
                    self._outbox.add(each.record)
        for each in group:
            each.future.set_result(None)

    def _undo(self, group: list[_PendingCommit], error: SealyardError) -> None:
        """Takes back ``group`` and all that was applied after it, newest first.

        The futures fail under the lock too: whoever sees memory without a change can see why.
        """
        with self._lock:
            failed, self._waiting = group + self._waiting, []
            for each in reversed(failed):
                self._memory.apply(each.undo)
            for each in failed:
                each.future.set_exception(type(error)(error.message, error.hint))
