"""Read the store in PostgreSQL without its key, also while an engine writes it. The role needs only SELECT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import psycopg

from sealyard.model.errors import WorkspaceError
from sealyard.storage.frame_format import EncodedBatch
from sealyard.storage.postgres.connection import Connection, Database, storage_error
from sealyard.storage.postgres.document_format import KNOWN_FORMAT
from sealyard.storage.postgres.schema import check_revision

_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_READ_POSITION = """
SELECT generation_id, position, cursor, format FROM sealyard.workspace WHERE id = %(workspace)s
"""

_READ_DOCUMENTS = """
SELECT kind, id, convert_to(body::text, 'UTF8') FROM sealyard.document
WHERE workspace = %(workspace)s AND position > %(position)s
"""

_COUNT_DOCUMENTS = "SELECT count(*) FROM sealyard.document WHERE workspace = %(workspace)s"

_READ_EVENTS = """
SELECT convert_to(body::text, 'UTF8') FROM sealyard.event
WHERE workspace = %(workspace)s AND cursor > %(cursor)s ORDER BY cursor
"""


class LoadedRows(NamedTuple):
    """Implements :class:`sealyard.storage.reader.LoadedStore`. The audit log has all entries of the store."""

    tables: dict[str, dict[str, bytes]]
    audit: list[bytes]
    events: list[bytes]


class _Position(NamedTuple):
    generation_id: str
    position: int
    cursor: int


class PgStoreReader:
    """Implements :class:`sealyard.storage.reader.StoreSource`. Each load is a transaction that sees one commit."""

    def __init__(self, database: Database, workspace_id: str) -> None:
        self._database = database
        self._workspace_id = workspace_id
        self._connection: Connection | None = None
        self._loaded: _Position | None = None
        self._known_documents: set[tuple[str, str]] = set()

    def load(self) -> LoadedRows:
        with self._snapshot() as connection:
            check_revision(connection)
            current = self._read_position(connection)
            tables: dict[str, dict[str, bytes]] = {}
            for kind, identity, body in self._read(connection, _READ_DOCUMENTS, position=-1):
                tables.setdefault(kind, {})[identity] = body
            events = [body for (body,) in self._read(connection, _READ_EVENTS, cursor=-1)]
        self._loaded = current
        self._known_documents = {(kind, identity) for kind, documents in tables.items() for identity in documents}
        return LoadedRows(tables, [], events)

    def load_new_batches(self) -> list[EncodedBatch] | None:
        loaded = self._loaded
        assert loaded is not None
        with self._snapshot() as connection:
            current = self._read_position(connection)
            if current == loaded:
                return []
            if current.generation_id != loaded.generation_id or current.position < loaded.position:
                return None
            rows = list(self._read(connection, _READ_DOCUMENTS, position=loaded.position))
            events = [body for (body,) in self._read(connection, _READ_EVENTS, cursor=loaded.cursor)]
            ((document_count,),) = self._read(connection, _COUNT_DOCUMENTS)
        known_documents = self._known_documents | {(kind, identity) for kind, identity, _ in rows}
        if len(known_documents) != document_count:
            return None  # a document was deleted
        self._loaded, self._known_documents = current, known_documents
        puts = [(kind, identity, msgspec.Raw(body)) for kind, identity, body in rows]
        return [EncodedBatch(puts=puts, events=[msgspec.Raw(event) for event in events])]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _read_position(self, connection: Connection) -> _Position:
        rows = list(self._read(connection, _READ_POSITION))
        if not rows:
            raise WorkspaceError("The database does not contain the workspace.", "Check its connection string.")
        *position, document_format = rows[0]
        if document_format > KNOWN_FORMAT:
            raise WorkspaceError(
                f"The documents in the database have format {document_format}; this version supports formats up to"
                f" {KNOWN_FORMAT}.",
                "Use the version of Sealyard that wrote it, or a newer one.",
            )
        return _Position(*position)

    def _read(self, connection: Connection, statement: str, **parameters: Any) -> Iterator[tuple[Any, ...]]:
        cursor = connection.cursor(binary=True)
        yield from cursor.execute(statement, {"workspace": self._workspace_id, **parameters})

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that only reads and sees one state of the database."""
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect()
        try:
            with self._connection.transaction():
                self._connection.execute(_SNAPSHOT)
                yield self._connection
        except psycopg.Error as error:
            raise storage_error(error, "reading the store") from None
