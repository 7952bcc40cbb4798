"""Open the store and the audit log of a workspace in PostgreSQL."""

from __future__ import annotations

from functools import partial

from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.state.open_store import record_generation
from sealyard.engine.state.opened_state import OpenedState
from sealyard.engine.state.tables import INDEXES
from sealyard.jobs.bus import JobBus
from sealyard.model.cluster import LeaseSettings
from sealyard.model.key_holder_messages import EngineKeys
from sealyard.storage.documents import TinyDocumentStore
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.postgres.audit import PgAudit, PgAuditReader, PgAuditView
from sealyard.storage.postgres.connection import Database
from sealyard.storage.postgres.journal import PgJournal
from sealyard.storage.postgres.lease_reader import CONNECT_SECONDS
from sealyard.storage.postgres.opening import PgStoreOpening
from sealyard.storage.postgres.reader import PgStoreReader


async def acquire_postgres_lease(
    connection_string: str, workspace_id: str, settings: LeaseSettings | None
) -> PgStoreOpening:
    """Acquire the lease of the workspace, and load its store.

    Raises the errors of :meth:`~sealyard.storage.postgres.opening.PgStoreOpening.start`, and :class:`UsageError` if the
    connection string cannot be used.
    """
    database = Database(connection_string, connect_seconds=CONNECT_SECONDS if settings is not None else None)
    return await run_uncancellable(partial(PgStoreOpening.start, database, workspace_id, settings))


def open_postgres_reader(connection_string: str, workspace_id: str) -> OpenedState:
    """Open store and audit log for reading, without verifying them. The role needs no privilege but SELECT.

    Raises the errors of :meth:`~sealyard.storage.reader.StoreSource.load`, and :class:`UsageError` if the connection
    string cannot be used.
    """
    database = Database(connection_string)
    store = TinyDocumentStore.open_source(PgStoreReader(database, workspace_id), INDEXES)
    return OpenedState(store, None, PgAuditReader(database, workspace_id), None)


async def open_postgres(opening: PgStoreOpening, workspace_id: str, bus: JobBus) -> OpenedState:
    """Verify and open store and audit log, whose lease is acquired. If that fails, the lease is released.

    Raises :class:`StoreCorruptedError` if the store was changed, :class:`AuditVerificationError` if the audit log was,
    and the other errors of :class:`~sealyard.storage.postgres.opening.PgStoreOpening` and
    :func:`~sealyard.engine.state.open_store.open_store`.
    """
    try:
        keys, journal = await _take_over(opening, workspace_id, bus)
    except BaseException:
        await run_uncancellable(opening.cancel)
        raise
    store = TinyDocumentStore.open_journal(journal, opening.tables, opening.records, INDEXES)
    try:
        await record_generation(store, bus)
        audit = await run_uncancellable(partial(PgAudit.open, opening.database, workspace_id, journal.head))
    except BaseException:
        await run_uncancellable(store.close)
        raise
    view = PgAuditView(opening.database, workspace_id, audit, journal)
    store.on_fenced(lambda _: audit.interrupt())
    store.on_fenced(lambda _: view.interrupt())
    return OpenedState(store, audit, view, keys)


async def _take_over(opening: PgStoreOpening, workspace_id: str, bus: JobBus) -> tuple[EngineKeys, PgJournal]:
    """Verify the store and take it over; its current generation is recorded before that."""
    keys = await bus.get_engine_keys()
    recorded = await bus.update_store_generation(None)
    await run_uncancellable(partial(opening.verify, StoreCredentials(keys.store_key, workspace_id), recorded))
    if opening.generation is not None:
        await bus.update_store_generation(opening.generation)
    return keys, await run_uncancellable(opening.take_over)
