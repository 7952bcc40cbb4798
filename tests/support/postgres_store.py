"""Open stores in a test database."""

from __future__ import annotations

from sealyard.model.cluster import LeaseSettings
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.documents import TinyDocumentStore
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.postgres.connection import Database
from sealyard.storage.postgres.journal import PgJournal
from sealyard.storage.postgres.opening import PgStoreOpening
from tests.support.store_helpers import CREDENTIALS, INDEXES


def open_journal(
    connection_string: str,
    recorded: StoreGeneration | None = None,
    credentials: StoreCredentials = CREDENTIALS,
    settings: LeaseSettings | None = None,
) -> tuple[PgJournal, PgStoreOpening]:
    """Verify the store, and take it over."""
    opening = PgStoreOpening.start(Database(connection_string, connect_seconds=3), credentials.workspace_id, settings)
    try:
        opening.verify(credentials, recorded)
        return opening.take_over(), opening
    except BaseException:
        opening.cancel()
        raise


def open_pg_store(
    connection_string: str,
    recorded: StoreGeneration | None = None,
    credentials: StoreCredentials = CREDENTIALS,
    settings: LeaseSettings | None = None,
) -> TinyDocumentStore:
    journal, opening = open_journal(connection_string, recorded, credentials, settings)
    return TinyDocumentStore.open_journal(journal, opening.tables, opening.records, INDEXES)
