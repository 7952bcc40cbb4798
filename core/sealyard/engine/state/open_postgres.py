"""Open the store and the audit log of a workspace in PostgreSQL."""

from __future__ import annotations

from functools import partial

from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.state.open_store import record_generation
from sealyard.engine.state.opened_state import OpenedState
from sealyard.engine.state.tables import INDEXES
from sealyard.jobs.bus import JobBus
from sealyard.model.key_holder_messages import EngineKeys
from sealyard.storage.documents import TinyDocumentStore
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.postgres.audit import PgAudit, PgAuditView
from sealyard.storage.postgres.connection import Database
from sealyard.storage.postgres.journal import PgJournal
from sealyard.storage.postgres.opening import PgStoreOpening


async def open_postgres(connection_string: str, workspace_id: str, bus: JobBus) -> OpenedState:
    """Acquire the lease of the workspace, and verify and open its store and audit log.

    Raises :class:`WorkspaceLockedError` if another engine has the workspace open, :class:`StoreCorruptedError` if the
    store was changed, :class:`AuditVerificationError` if the audit log was, :class:`UsageError` if the connection
    string cannot be used, and the other errors of :class:`~sealyard.storage.postgres.opening.PgStoreOpening` and
    :func:`~sealyard.engine.state.open_store.open_store`.
    """
    database = Database(connection_string)
    opening = await run_uncancellable(partial(PgStoreOpening.start, database, workspace_id))
    try:
        keys, journal = await _take_over(opening, workspace_id, bus)
    except BaseException:
        await run_uncancellable(opening.cancel)
        raise
    store = TinyDocumentStore.open_journal(journal, opening.tables, opening.records, INDEXES)
    try:
        await record_generation(store, bus)
        audit = await run_uncancellable(partial(PgAudit.open, database, workspace_id, journal.head))
    except BaseException:
        await run_uncancellable(store.close)
        raise
    return OpenedState(store, audit, PgAuditView(database, workspace_id, audit, journal), keys)


async def _take_over(opening: PgStoreOpening, workspace_id: str, bus: JobBus) -> tuple[EngineKeys, PgJournal]:
    """Verify the store and take it over; its current generation is recorded before that."""
    keys = await bus.get_engine_keys()
    recorded = await bus.update_store_generation(None)
    await run_uncancellable(partial(opening.verify, StoreCredentials(keys.store_key, workspace_id), recorded))
    if opening.generation is not None:
        await bus.update_store_generation(opening.generation)
    return keys, await run_uncancellable(opening.take_over)
