"""Sealing the audit log: entries move from the journal to the log's files, and the worker signs its tree head."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial

import msgspec

from sealyard.audit.log import AuditLog
from sealyard.engine.inputs.stream_writer import run_uncancellable
from sealyard.engine.state.repository import Repository
from sealyard.jobs.bus import JobBus
from sealyard.model.audit import AuditEntry
from sealyard.model.errors import SealyardError, WorkerError
from sealyard.model.worker_messages import AuditPublicKey, SignCheckpoint
from sealyard.storage.documents import DocumentStore

CHECKPOINT_INTERVAL = 1.0
CHECKPOINT_ENTRIES = 256
RETRY_SECONDS = 2.0

log = logging.getLogger(__name__)


class CheckpointLoop:
    """At most a second or 256 entries after a commit, and at start and stop."""

    def __init__(self, ledger: Repository, audit: AuditLog, bus: JobBus, origin: str) -> None:
        self._ledger = ledger
        self._audit = audit
        self._bus = bus
        self._origin = origin
        self._sealing = asyncio.Lock()

    async def run(self) -> None:
        while True:
            await self._ledger.commit_event.wait()
            self._ledger.commit_event.clear()
            await self._wait_for_batch()
            try:
                await self.checkpoint()
            except SealyardError as error:
                log.warning("the audit log could not be sealed: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                self._ledger.commit_event.set()

    async def checkpoint(self) -> None:
        """Moves what is committed, has it signed, and compacts the journal where that pays."""
        async with self._sealing:
            await self._flush()
            if self._audit.sealed_size < self._audit.size:
                checkpoint = self._audit.checkpoint(self._origin)
                answer = await self._bus.request(SignCheckpoint(size=checkpoint.size, root=checkpoint.root))
                if answer.text is None:
                    raise WorkerError("The crypto worker answered without a checkpoint.")
                await run_uncancellable(partial(self._audit.append_checkpoint, answer.text))
            if self._ledger.store.wants_compaction:
                await run_uncancellable(partial(self._ledger.store.compact, self._audit.size - 1))

    async def pin_key(self) -> None:
        """Has the public half of the audit key beside the log."""
        answer = await self._bus.request(AuditPublicKey())
        assert answer.text is not None
        await run_uncancellable(partial(self._audit.pin_key, answer.text.encode()))

    async def _wait_for_batch(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + CHECKPOINT_INTERVAL
        while (left := until - loop.time()) > 0 and len(self._ledger.unflushed_audit) < CHECKPOINT_ENTRIES:
            self._ledger.commit_event.clear()
            # Not wait_for: before Python 3.12 it swallows a cancellation that meets the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._ledger.commit_event.wait()

    async def _flush(self) -> None:
        entries = self._ledger.unflushed_audit
        if not entries:
            return
        self._ledger.unflushed_audit = []
        try:
            # To its end: who seals next must not meet it.
            await run_uncancellable(partial(self._audit.append, entries))
        except BaseException:
            self._ledger.unflushed_audit = entries + self._ledger.unflushed_audit
            raise


def migrate_pending_entries(store: DocumentStore, audit: AuditLog) -> None:
    """At start: moves what an earlier engine committed and did not move. Does nothing the second time."""
    audit.append(msgspec.convert(entry, AuditEntry) for entry in store.pending_audit())
