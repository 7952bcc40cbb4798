"""Group commit: a batch is visible in memory immediately, and durable when its future is done.

A single thread writes to the journal. All pending batches share one write; afterwards their futures are resolved in
order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from threading import Condition, Lock, RLock, Thread

import msgspec

from sealyard.model.cluster import HeldLease
from sealyard.model.errors import ConcurrentWriterError, SealyardError, StorageError
from sealyard.model.health import CommitTimes
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.batch import Change, WriteBatch, encode_batch, iter_changes
from sealyard.storage.commit_times import CommitTimer
from sealyard.storage.frame_format import EncodedBatch
from sealyard.storage.in_memory import InMemoryTables
from sealyard.storage.journal_protocol import Journal
from sealyard.storage.pending_log import PendingRecords


class _PendingCommit(msgspec.Struct):
    batch: EncodedBatch
    inverse_changes: list[Change]
    future: Future[None]


class GroupCommitter:
    """Owns the journal and the thread that writes to it.

    ``lock`` guards the tables in memory and the pending records. No change is rolled back while a caller holds
    ``lock``.
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
        self._timer = CommitTimer()
        self._thread = Thread(target=self._run, name="sealyard-journal", daemon=True)
        self._thread.start()

    def submit(self, batch: WriteBatch) -> Future[None]:
        """Apply ``batch`` in memory and queue it for the next commit; see :meth:`DocumentStore.submit`.

        Raises :class:`InvalidInputError` if a part of the batch cannot be encoded as JSON or stored, and
        :class:`StorageError` if the committer is closed.
        """
        encoded_batch = encode_batch(batch)
        self._journal.check(encoded_batch)
        future: Future[None] = Future()
        # Make the future uncancellable: other batches may already depend on this one.
        future.set_running_or_notify_cancel()
        with self._wakeup:
            self._check_open()
            inverse_changes = self._memory.apply(iter_changes(encoded_batch))
            self._queue.append(_PendingCommit(encoded_batch, inverse_changes, future))
            self._wakeup.notify()
        return future

    @property
    def generation(self) -> StoreGeneration:
        return self._journal.generation

    @property
    def needs_compaction(self) -> bool:
        return self._journal.needs_compaction

    def compact(self, audit_moved_to: int) -> None:
        """Write a snapshot and start a new journal; see :meth:`DocumentStore.compact`.

        Raises :class:`StorageError` if the disk refuses an operation; the documents and pending records are then
        unchanged. Raises :class:`ConcurrentWriterError` if another process has changed the journal.
        """
        with self._compaction_lock:
            with self._write_lock, self._lock:
                self._check_open()
                compaction = self._journal.start_compaction()
                if compaction is None:
                    return
                tables = self._copy_durable_tables().tables
                carry_over = self._pending_records.build_carry_over(audit_moved_to)
            compaction.write_snapshot(tables)
            with self._write_lock:
                compaction.finish(carry_over)
                with self._lock:
                    self._pending_records.discard_audit(audit_moved_to)

    @property
    def commit_times(self) -> CommitTimes:
        return self._timer.times

    @property
    def lease(self) -> HeldLease | None:
        return self._journal.lease

    def on_fenced(self, callback: Callable[[ConcurrentWriterError], object]) -> None:
        self._journal.on_fenced(callback)

    def close(self) -> None:
        """Commit all pending batches, then stop the thread and close the journal."""
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
        """Return a copy of the tables without the pending batches.

        The caller must hold ``_write_lock`` and ``_lock``, so that no commit is in progress.
        """
        memory = self._memory.copy()
        for commit in reversed(self._queue):
            memory.apply(commit.inverse_changes)
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
                commits, self._queue = self._queue, []
            began_at = time.monotonic()
            try:
                self._journal.append([commit.batch for commit in commits])
            except Exception as error:
                # Catch every error, because callers wait for the futures.
                commit_error = (
                    error if isinstance(error, SealyardError) else StorageError(f"Cannot save the change: {error!r}.")
                )
                self._roll_back(commits, commit_error)
                return
            finally:
                self._timer.record(time.monotonic() - began_at)
            with self._lock:
                for commit in commits:
                    self._pending_records.add(commit.batch)
        for commit in commits:
            commit.future.set_result(None)

    def _roll_back(self, commits: list[_PendingCommit], error: SealyardError) -> None:
        """Roll back the given commits and all later ones, newest first, and fail their futures with ``error``.

        Both happen while the lock is held, so that a reader never finds a change rolled back whose future has not
        failed yet.
        """
        with self._lock:
            failed_commits, self._queue = commits + self._queue, []
            for commit in reversed(failed_commits):
                self._memory.apply(commit.inverse_changes)
            for commit in failed_commits:
                commit.future.set_exception(type(error)(error.message, error.structured_hint))
