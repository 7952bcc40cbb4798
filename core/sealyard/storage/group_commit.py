"""Group commit: a change is visible in memory at once and is durable when its future is done.

A single thread writes. All pending batches share one frame and one sync; then their futures are resolved in order.
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
    """Owns the journal and the thread that writes it.

    ``lock`` guards the tables in memory and the pending records. No change is rolled back while a caller holds it.
    """

    def __init__(self, journal: Journal, memory: InMemoryTables, pending_records: PendingRecords, lock: RLock) -> None:
        self._journal = journal
        self._memory = memory
        self._pending_records = pending_records
        self._lock: AbstractContextManager[object] = lock
        self._wakeup = Condition(lock)
        self._write_lock = Lock()  # acquired before self._lock, never after it
        self._compaction_lock = Lock()
        self._queue: list[_PendingCommit] = []
        self._closed = False
        self._thread = Thread(target=self._run, name="sealyard-journal", daemon=True)
        self._thread.start()

    def submit(self, batch: WriteBatch) -> Future[None]:
        """Apply ``batch`` in memory and queue it for the next commit.

        Raises :class:`InvalidInputError` if something cannot be encoded as JSON, and :class:`StorageError` once closed.
        """
        record = encode_batch(batch)
        future: Future[None] = Future()
        # Make the future uncancellable: callers may already have based other changes on this one.
        future.set_running_or_notify_cancel()
        with self._wakeup:
            self._check_open()
            undo = self._memory.apply(iter_changes(record))
            self._queue.append(_PendingCommit(record, undo, future))
            self._wakeup.notify()
        return future

    @property
    def needs_compaction(self) -> bool:
        return self._journal.position.offset > max(MIN_COMPACTION_SIZE, 2 * self._journal.snapshot_size)

    def compact(self, audit_moved_to: int) -> None:
        """Write a snapshot and start a new journal; see :meth:`DocumentStore.compact`.

        Raises :class:`StorageError`; the documents and pending records are unchanged then.
        """
        with self._compaction_lock:
            with self._write_lock, self._lock:
                self._check_open()
                position = self._journal.position
                tables = self._copy_durable_tables().tables
                carry_over = self._pending_records.after(audit_moved_to)
            self._journal.write_snapshot(position, tables)
            with self._write_lock:
                self._journal.rotate(position, carry_over)
                with self._lock:
                    self._pending_records.discard_audit(audit_moved_to)

    def close(self) -> None:
        """Commit what is pending, then stop the thread."""
        with self._wakeup:
            if self._closed:
                return
            self._closed = True
            self._wakeup.notify()
        self._thread.join()
        with self._compaction_lock:
            self._journal.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StorageError("The store is closed.", "Open the workspace again.")

    def _copy_durable_tables(self) -> InMemoryTables:
        """Return a copy of the tables without pending changes.

        The caller holds both locks, so no commit is in progress.
        """
        memory = self._memory.copy()
        for commit in reversed(self._queue):
            memory.apply(commit.undo)
        return memory

    def _run(self) -> None:
        while True:
            with self._wakeup:
                while not self._queue and not self._closed:
                    self._wakeup.wait()
                if not self._queue:
                    return
            self._commit()

    def _commit(self) -> None:
        with self._write_lock:
            with self._lock:
                group, self._queue = self._queue, []
            try:
                self._journal.append([msgspec.json.encode(commit.record) for commit in group])
            except Exception as error:
                # Catch every error: callers that wait for a future must get a result.
                failure = (
                    error if isinstance(error, SealyardError) else StorageError(f"Cannot save the change: {error!r}.")
                )
                self._undo(group, failure)
                return
            with self._lock:
                for commit in group:
                    self._pending_records.add(commit.record)
        for commit in group:
            commit.future.set_result(None)

    def _undo(self, group: list[_PendingCommit], error: SealyardError) -> None:
        """Roll back ``group`` and all changes that were applied after it, newest first.

        The futures fail while the lock is held, so that a reader that misses a change can also see why.
        """
        with self._lock:
            failed, self._queue = group + self._queue, []
            for commit in reversed(failed):
                self._memory.apply(commit.undo)
            for commit in failed:
                commit.future.set_exception(type(error)(error.message, error.hint))
