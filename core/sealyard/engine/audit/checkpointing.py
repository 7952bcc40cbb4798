"""Create checkpoints of the audit log: move entries from the journal to the log's files, and sign the Merkle root."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial

import msgspec

from sealyard.audit.store import AuditStore
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.audit.history import find_gap, find_lost_intent
from sealyard.engine.state.open_store import compact_store
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import TASKS
from sealyard.jobs.bus import JobBus
from sealyard.model.audit import AuditEntry
from sealyard.model.errors import AuditVerificationError, ConcurrentWriterError, SealyardError, WorkerError
from sealyard.model.key_commands import AuditPublicKey, GetSignedCheckpoint, SignCheckpoint
from sealyard.model.key_holder_messages import WorkerStateInfo
from sealyard.storage.documents import DocumentStore

CHECKPOINT_INTERVAL = 1.0
"""Longest time in seconds between a commit and the checkpoint that covers it."""

CHECKPOINT_ENTRIES = 256
"""Number of committed entries that triggers a checkpoint before :data:`CHECKPOINT_INTERVAL` has passed."""

RETRY_SECONDS = 2.0

log = logging.getLogger(__name__)


class CheckpointLoop:
    """Background loop that creates a checkpoint one second after a commit, or earlier if 256 entries are waiting.

    The engine also triggers a checkpoint when it starts, and calls :meth:`checkpoint` when it closes.
    """

    def __init__(self, repository: Repository, audit: AuditStore, bus: JobBus, origin: str) -> None:
        self._repository = repository
        self._audit = audit
        self._bus = bus
        self._origin = origin
        self.is_open = False
        """Whether :meth:`open_log` has succeeded. No checkpoint must be signed before."""
        self._lock = asyncio.Lock()
        self._is_synchronized = False
        """Whether the log knows which checkpoint was signed last."""

    async def run(self) -> None:
        """Create checkpoints after commits, until cancelled. A failed checkpoint is logged and retried.

        Returns if another process has written to the workspace; the repository then knows the error.
        """
        while True:
            await self._repository.commit_event.wait()
            self._repository.commit_event.clear()
            await self._wait_for_batch()
            try:
                await self.checkpoint()
            except ConcurrentWriterError as error:
                self._repository.report_fatal_error(error)
                return
            except SealyardError as error:
                log.warning("could not create a checkpoint of the audit log: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._repository.commit_event.set()

    async def checkpoint(self) -> None:
        """Move committed entries to the log's files, and have a worker sign a checkpoint that covers them.

        Also compacts the journal if necessary. Raises :class:`WorkerError` if the worker returns no checkpoint, and
        other subclasses of :class:`SealyardError` if the log or the store cannot be written or no worker responds.
        """
        async with self._lock:
            await self._append_unflushed_entries()
            if self._audit.checkpointed_size < self._audit.size:
                await self._sign_checkpoint()
            if self._repository.store.needs_compaction:
                # The last entry stays in the store: a store that is older than the log is recognized by it.
                await compact_store(self._repository.store, self._bus, self._audit.size - 2)

    async def open_log(self) -> WorkerStateInfo:
        """Check the log against the store and the worker state, and complete it. Returns what the worker state says.

        Appends the entries that an earlier engine committed, but did not move to the log. Stores the public audit key,
        which a worker provides, and creates the first checkpoint, so that no log has a key or an entry without one.

        Raises :class:`AuditVerificationError` if store and log have different histories, if entries or checkpoints were
        removed or changed since a checkpoint was signed, if the store lacks an attempt that a key was used for since,
        or if the audit key did not sign the newest one, and
        :class:`WorkerStateError` or :class:`AnchorError` if the worker state was changed or is older.
        """
        async with self._lock:
            state = await self._get_state()
            last_note = await run_uncancellable(self._audit.last_note)
            if last_note is None:
                self._require_never_signed(state)
            if (error := find_lost_intent(state.recent_intents, self._find_fencing_token)) is not None:
                raise error
            is_recovered = any(event.recovery is not None for event in state.unaudited)
            await self._append_committed_entries(is_recovered)
            response = await self._bus.request(AuditPublicKey(last_note=last_note))
            assert response.text is not None
            if last_note is None:
                await self._sign_checkpoint()
            await run_uncancellable(partial(self._audit.pin_key, response.text.encode()))
            await self._synchronize()
        self.is_open = True
        return state

    async def _append_committed_entries(self, is_recovered: bool) -> None:
        """Complete the log's files from the store.

        Raises :class:`AuditVerificationError` if store and log differ. After a recovery, one may be older; entries of
        the store that do not continue the log are discarded then.
        """
        store = self._repository.store
        gap = await run_uncancellable(partial(find_gap, store, self._audit, self._audit.size))
        if gap is not None:
            if not is_recovered:
                raise gap
            await compact_store(store, self._bus, store.pending_audit()[-1]["seq"])
        await run_uncancellable(partial(migrate_pending_entries, store, self._audit))

    def _find_fencing_token(self, task_id: str) -> int | None:
        task = self._repository.get(TASKS, task_id)
        return None if task is None else task.fencing_token

    def _require_never_signed(self, state: WorkerStateInfo) -> None:
        """Check that no checkpoint was signed: an earlier version could be interrupted before the first one."""
        if state.size > 0:
            self._audit.require_checkpoints()
            raise AuditVerificationError(
                "The audit log of the workspace was removed.", "Restore the whole workspace from one backup."
            )

    async def _sign_checkpoint(self) -> None:
        if not self._is_synchronized:
            await self._synchronize()
        checkpoint, proof = self._audit.checkpoint(self._origin), self._audit.consistency_proof()
        # If the request fails, the checkpoint may have been signed.
        self._is_synchronized = False
        response = await self._bus.request(SignCheckpoint(size=checkpoint.size, root=checkpoint.root, proof=proof))
        if response.text is None:
            raise WorkerError("The crypto worker did not return a checkpoint.")
        await run_uncancellable(partial(self._audit.append_checkpoint, response.text))
        self._is_synchronized = True

    async def _synchronize(self) -> None:
        state = await self._get_state()
        await run_uncancellable(partial(self._audit.require_signed, state.size, state.root))
        self._is_synchronized = True

    async def _get_state(self) -> WorkerStateInfo:
        response = await self._bus.request(GetSignedCheckpoint())
        assert response.state is not None
        return response.state

    async def _wait_for_batch(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + CHECKPOINT_INTERVAL
        while (remaining := deadline - loop.time()) > 0 and len(self._repository.unflushed_audit) < CHECKPOINT_ENTRIES:
            self._repository.commit_event.clear()
            # Not asyncio.wait_for: before Python 3.12 it swallows a cancellation that coincides with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(remaining):
                    await self._repository.commit_event.wait()

    async def _append_unflushed_entries(self) -> None:
        unflushed_entries = self._repository.unflushed_audit
        if not unflushed_entries:
            return
        self._repository.unflushed_audit = []
        try:
            # Wait for the thread even if cancelled: another checkpoint must not start while entries are being written.
            await run_uncancellable(partial(self._audit.append, unflushed_entries))
        except BaseException:
            self._repository.unflushed_audit = unflushed_entries + self._repository.unflushed_audit
            raise


def migrate_pending_entries(store: DocumentStore, audit: AuditStore) -> None:
    """Append the entries that an earlier engine committed, but did not move to the log's files. Idempotent.

    Must be called before the engine writes anything else to the log.
    """
    audit.append(msgspec.convert(entry, AuditEntry) for entry in store.pending_audit(audit.size))
