"""Open the store in PostgreSQL: acquire the lease, load all rows, verify them, and take over.

1. The lease is acquired under a new term. From then on, no engine of an earlier term can commit.
2. All rows are loaded.
3. With the key of the store, each row and the head are verified, and compared with the generation that the worker state
   has recorded. As in a folder, the store has the recorded generation, or the next one, which names the recorded one;
   otherwise it was put back or replaced.
4. The engine takes over: it signs the head again, under its term and as the next generation. Before that, the caller
   must record the generation that was found, and afterwards the new one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString, NamedTuple, Self

import psycopg
from psycopg import sql

from sealyard.model.audit import GENESIS_HASH
from sealyard.model.cluster import LeaseSettings
from sealyard.model.errors import SealyardError, StoreCorruptedError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.model.safe_text import escape_text
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.pending_log import MAX_EVENTS, PendingRecords
from sealyard.storage.postgres import statements
from sealyard.storage.postgres.authentication import DocumentSet, Head, RowAuthenticator
from sealyard.storage.postgres.connection import Connection, Database, storage_error
from sealyard.storage.postgres.document_format import KNOWN_FORMAT
from sealyard.storage.postgres.journal import PgJournal
from sealyard.storage.postgres.lease import (
    LeaseKeeper,
    acquire_lease,
    build_lease_parameters,
    read_clock,
    taken_over_error,
)
from sealyard.storage.postgres.schema import check_schema

_RESTORE_HINT = "Restore the database from a backup, together with the workspace folder. Nothing was changed."


class _LoadedRows(NamedTuple):
    head: Head
    head_mac: bytes
    documents: list[tuple[str, str, bytes, int, bytes]]
    events: list[tuple[int, bytes, bytes]]


class PgStoreOpening:
    """A store whose lease is acquired. Call :meth:`verify`, then :meth:`take_over`; or :meth:`cancel`."""

    def __init__(
        self,
        database: Database,
        connection: Connection,
        workspace_id: str,
        term: int,
        rows: _LoadedRows | None,
        settings: LeaseSettings | None,
        began_at: float,
    ) -> None:
        """Wrap a store after the second step, ``rows`` is None if it does not exist yet. Use :meth:`start`."""
        self.database = database
        self._connection = connection
        self._workspace_id = workspace_id
        self._term = term
        self._rows = rows
        self._authenticator: RowAuthenticator | None = None
        self._documents = DocumentSet()
        self._journal: PgJournal | None = None
        self._settings = settings
        self._lease: LeaseKeeper | None = None
        if rows is not None:
            self._lease = LeaseKeeper(database, workspace_id, term, settings, began_at)
            self._lease.interrupt_when_lost(connection)
        self.tables: dict[str, dict[str, bytes]] = {}
        self.records = PendingRecords(keeps_audit=False)

    @classmethod
    def start(cls, database: Database, workspace_id: str, settings: LeaseSettings | None = None) -> Self:
        """Acquire the lease and load the store, without verifying it.

        Without ``settings``, waits for a lease to expire whose engine has crashed. Raises
        :class:`WorkspaceLockedError` if another engine holds the lease, :class:`WorkspaceError` if the database does
        not have the schema or settings that are needed, and :class:`StorageError` if it cannot be reached.
        """
        connection = database.connect()
        try:
            check_schema(connection)
            began_at = read_clock()
            row = acquire_lease(connection, workspace_id, KNOWN_FORMAT, settings)
            if row is None:
                return cls(database, connection, workspace_id, 1, None, settings, began_at)
            rows = _LoadedRows(Head(*row[1:9]), row[9], [], [])
            opening = cls(database, connection, workspace_id, row[0], rows, settings, began_at)
        except psycopg.Error as error:
            connection.close()
            raise storage_error(error, "acquiring the lease") from None
        except BaseException:
            connection.close()
            raise
        opening._load()
        return opening

    @property
    def head(self) -> Head | None:
        """The head that was found; None if there is no store."""
        return None if self._rows is None else self._rows.head

    @property
    def generation(self) -> StoreGeneration | None:
        """The generation that was found, which must be recorded before :meth:`take_over`; None if there is no store."""
        if self._rows is None:
            return None
        return StoreGeneration(number=self._rows.head.generation, mac=self._rows.head.generation_id)

    def verify(self, credentials: StoreCredentials, recorded: StoreGeneration | None) -> None:
        """Verify all rows.

        ``recorded``: the generation that the worker state has recorded. Raises :class:`StoreCorruptedError` if a row
        was changed, added, removed or put back.
        """
        self._authenticator = RowAuthenticator(credentials)
        if self._rows is None:
            if recorded is not None:
                raise StoreCorruptedError("The store of the workspace was removed from the database.", _RESTORE_HINT)
            return
        self._verify_documents(self._authenticator, self._rows)
        self._verify_events(self._authenticator, self._rows)
        head = self._rows.head
        if head.term >= self._term or self._rows.head_mac != self._authenticator.compute_head_mac(
            head, self._documents.sum
        ):
            raise StoreCorruptedError(
                "The store was changed: its documents do not match the MAC of the workspace. Rows were removed or put"
                " back to an older state, or the row of the workspace was changed.",
                _RESTORE_HINT,
            )
        require_current(head, recorded)

    def take_over(self) -> PgJournal:
        """Sign the head as the next generation, and return the journal, which owns the lease.

        Creates the store if it does not exist. Raises :class:`FencedError` if another engine has acquired the lease.
        """
        assert self._authenticator is not None
        found = self._rows.head if self._rows is not None else Head(0, 0, "", "", 0, 0, GENESIS_HASH, 0)
        head = found._replace(
            term=self._term,
            generation=found.generation + 1,
            generation_id=secrets.token_hex(32),
            previous_generation_id=found.generation_id,
            position=found.position + 1,
        )
        self._sign_head(head, self._authenticator.compute_head_mac(head, self._documents.sum))
        if self._lease is None:
            self._lease = LeaseKeeper(self.database, self._workspace_id, self._term, self._settings)
        self._journal = PgJournal(
            self.database, self._connection, self._authenticator, head, self._documents, self._lease
        )
        return self._journal

    def cancel(self) -> None:
        """Release the lease, if the journal does not own it."""
        if self._journal is not None:
            return
        if self._lease is not None:
            self._lease.close()
        self._connection.close()

    def _load(self) -> None:
        assert self._rows is not None
        try:
            self._rows.documents.extend(self._copy_rows(statements.LOAD_DOCUMENTS, statements.DOCUMENT_TYPES))
            self._rows.events.extend(self._copy_rows(statements.LOAD_EVENTS, statements.EVENT_TYPES))
        except psycopg.Error as error:
            self.cancel()
            raise storage_error(error, "loading the store") from None
        except BaseException:
            self.cancel()
            raise

    def _copy_rows(self, query: LiteralString, types: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query. Unlike with a cursor, the whole result is not in memory a second time."""
        workspace = sql.Literal(self._workspace_id)
        statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(sql.SQL(query).format(workspace=workspace))
        with self._connection.cursor() as cursor, cursor.copy(statement) as rows:
            rows.set_types(types)
            yield from rows.rows()

    def _verify_documents(self, authenticator: RowAuthenticator, rows: _LoadedRows) -> None:
        for kind, identity, body, position, mac in rows.documents:
            if authenticator.compute_document_mac(kind, identity, position, body) != mac:
                raise _changed_row_error(f"document {identity} of {kind}")
            if not self._documents.add(kind, identity, authenticator.compute_addend(mac)):
                raise _changed_row_error(f"document {identity} of {kind}, which exists twice,")
            self.tables.setdefault(kind, {})[identity] = body

    def _verify_events(self, authenticator: RowAuthenticator, rows: _LoadedRows) -> None:
        """Verify that the newest events are complete. Those before them may be missing, as clients can miss events."""
        events = rows.events[-MAX_EVENTS:]
        first_cursor = rows.head.cursor - len(events) + 1
        for expected_cursor, (cursor, body, mac) in enumerate(events, first_cursor):
            if cursor != expected_cursor or authenticator.compute_event_mac(cursor, body) != mac:
                raise _changed_row_error(f"event {expected_cursor}")
        if rows.head.cursor and not events:
            raise _changed_row_error(f"event {rows.head.cursor}")
        self.records = PendingRecords(events=[body for _, body, _ in events], keeps_audit=False)

    def _sign_head(self, head: Head, mac: bytes) -> None:
        parameters: dict[str, Any] = {**head._asdict(), "workspace": self._workspace_id, "mac": mac}
        statement = statements.TAKE_OVER
        if self._rows is None:
            statement = statements.CREATE_WORKSPACE
            parameters |= {**build_lease_parameters(self._workspace_id, self._settings), "known_format": KNOWN_FORMAT}
        try:
            cursor = self._connection.execute(statement, parameters)
        except psycopg.Error as error:
            raise storage_error(error, "taking over the workspace") from None
        if cursor.rowcount == 0:
            raise taken_over_error()


def require_current(head: Head, recorded: StoreGeneration | None) -> None:
    """Check that a verified store has the recorded generation, or the one that follows it.

    Raises :class:`StoreCorruptedError` if it has not; it can be recovered then.
    """
    if recorded is None or (head.generation, head.generation_id) == (recorded.number, recorded.mac):
        return
    if head.generation == recorded.number + 1 and head.previous_generation_id == recorded.mac:
        return
    if head.generation < recorded.number:
        raise StoreCorruptedError(
            f"The store was put back to an older state. It has generation {head.generation}, but the worker state has"
            f" recorded generation {recorded.number}.",
            Hint.of(HintCode.RECOVER_WORKSPACE),
        )
    raise StoreCorruptedError(
        f"The store was replaced: its generation {head.generation} does not follow generation {recorded.number}, which"
        " the worker state has recorded.",
        Hint.of(HintCode.RECOVER_WORKSPACE),
    )


def _changed_row_error(row: str) -> SealyardError:
    return StoreCorruptedError(
        f"The store was changed: the MAC of {escape_text(row, 200)} is wrong. Sealyard did not write this row.",
        "Find out who changed the database, and restore it from a backup. Nothing was changed.",
    )
