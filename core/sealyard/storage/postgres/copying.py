"""Copy store and audit log into a database, and retire a workspace that was copied from there.

The copy is written in one transaction, with the privileges of an engine. Its row is reserved until it is activated, so
that no engine can acquire its lease. Audit entries cannot be removed: a copy that replaces an unfinished one, or one
that was moved away since, adds those that are missing, and is refused if the others differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import psycopg

from sealyard.audit.merkle import leaf_hash
from sealyard.model.audit import GENESIS_HASH
from sealyard.model.errors import ConflictError, StorageError, StoreCorruptedError, WorkspaceError
from sealyard.storage.content import (
    Document,
    WorkspaceContent,
    differing_copy_error,
    iter_documents,
    list_checkpoints,
    require_same_audit_log,
    require_same_documents,
    require_same_events,
)
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.postgres import copy_statements as statements
from sealyard.storage.postgres.audit import PgAuditReader
from sealyard.storage.postgres.authentication import DocumentSet, Head, RowAuthenticator
from sealyard.storage.postgres.connection import Connection, Database, storage_error
from sealyard.storage.postgres.document_format import KNOWN_FORMAT
from sealyard.storage.postgres.lease import MOVED_AWAY, MOVING
from sealyard.storage.postgres.schema import check_schema

_CHECKPOINTS_PER_STATEMENT = 1000

_REMOVE_HINT = "Use another database, or remove the rows of the workspace as the owner of the tables."


class _EventCursor(msgspec.Struct):
    cursor: int


_cursor_decoder = msgspec.json.Decoder(_EventCursor)


class _Row(NamedTuple):
    """The row of the workspace in the target. ``generation_id`` is the id of the copy."""

    term: int
    position: int
    format: int
    generation_id: str
    holder: str
    is_reserved: bool


class PgTarget:
    """:class:`~sealyard.storage.content.CopyTarget` in a database."""

    def __init__(self, database: Database, credentials: StoreCredentials, attempts: Sequence[str]) -> None:
        """``attempts``: the ids of the copies that runs of this move began; the last one is that of this run."""
        self._database = database
        self._workspace_id = credentials.workspace_id
        self._authenticator = RowAuthenticator(credentials)
        self._attempts = attempts

    def check(self) -> None:
        with _transaction(self._database, "checking the target") as connection:
            check_schema(connection)
            row = connection.execute(statements.READ_ROW, {"workspace": self._workspace_id}).fetchone()
            if row is not None:
                self._require_replaceable(_Row(*row))

    def write(self, content: WorkspaceContent) -> None:
        with _transaction(self._database, "writing the copy") as connection:
            check_schema(connection)
            row = self._lock_row(connection)
            parameters = {"workspace": self._workspace_id}
            connection.execute(statements.DELETE_DOCUMENTS, parameters)
            connection.execute(statements.DELETE_EVENTS, parameters)
            head = Head(
                term=row.term + 1,
                generation=content.generation.number + 1,
                generation_id=self._attempts[-1],
                previous_generation_id=content.generation.mac,
                position=row.position + 1,
                next_seq=0,
                previous=GENESIS_HASH,
                cursor=_find_last_cursor(content),
            )
            documents = self._copy_documents(connection, content, head.position)
            self._copy_events(connection, content)
            next_seq, previous = self._copy_audit_log(connection, content, head.position)
            head = head._replace(next_seq=next_seq, previous=previous)
            connection.execute(
                statements.SIGN_COPY,
                {
                    **parameters,
                    **head._asdict(),
                    "holder": MOVING,
                    "mac": self._authenticator.compute_head_mac(head, documents.sum),
                },
            )

    def verify(self, content: WorkspaceContent) -> None:
        with _transaction(self._database, "reading the copy") as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            documents = DocumentSet()
            require_same_documents(content.tables, self._iter_verified_documents(connection, documents))
            parameters = {"workspace": self._workspace_id}
            with connection.cursor(binary=True) as cursor:
                events = cursor.execute(statements.READ_EVENTS, parameters).fetchall()
                row = cursor.execute(statements.READ_HEAD, parameters).fetchone()
        for cursor_number, event, mac in events:
            if mac != self._authenticator.compute_event_mac(cursor_number, event):
                raise _changed_copy_error(f"event {cursor_number}")
        require_same_events(content.events, [event for _, event, _ in events])
        self._verify_head(row, documents, content)
        audit = PgAuditReader(self._database, self._workspace_id)
        try:
            require_same_audit_log(content.audit, audit)
        finally:
            audit.close()

    # ---- writing

    def _lock_row(self, connection: Connection) -> _Row:
        """Insert the reserved row, or lock the one of an earlier copy."""
        parameters = {
            "workspace": self._workspace_id,
            "format": KNOWN_FORMAT,
            "holder": MOVING,
            "attempt": self._attempts[-1],
            "previous": GENESIS_HASH,
        }
        connection.execute(statements.RESERVE_ROW, parameters)
        columns = connection.execute(statements.LOCK_ROW, parameters).fetchone()
        if columns is None:
            raise StorageError("The row of the workspace disappeared from the database.", "Move the workspace again.")
        row = _Row(*columns)
        self._require_replaceable(row)
        return row

    def _require_replaceable(self, row: _Row) -> None:
        """Check that the row belongs to an unfinished copy of this move, or to a workspace that was moved away."""
        if row.format != KNOWN_FORMAT:
            raise WorkspaceError(
                f"The workspace in the database has the format {row.format}; a move writes {KNOWN_FORMAT}.",
                "Raise the format of its documents if it is older, otherwise use a newer version of Sealyard.",
            )
        is_own_copy = row.holder == MOVING and row.generation_id in self._attempts
        if not row.is_reserved or not (is_own_copy or row.holder == MOVED_AWAY):
            raise ConflictError("The database already contains this workspace.", _REMOVE_HINT)

    def _copy_documents(self, connection: Connection, content: WorkspaceContent, position: int) -> DocumentSet:
        documents = DocumentSet()
        with connection.cursor().copy(statements.COPY_DOCUMENTS) as rows:
            for kind, identity, body in iter_documents(content.tables):
                mac = self._authenticator.compute_document_mac(kind, identity, position, body)
                documents.add(kind, identity, self._authenticator.compute_addend(mac))
                rows.write_row((self._workspace_id, kind, identity, body.decode(), position, mac))
        return documents

    def _copy_events(self, connection: Connection, content: WorkspaceContent) -> None:
        with connection.cursor().copy(statements.COPY_EVENTS) as rows:
            for event in content.events:
                cursor = _decode_cursor(event)
                mac = self._authenticator.compute_event_mac(cursor, event)
                rows.write_row((self._workspace_id, cursor, event.decode(), mac))

    def _copy_audit_log(self, connection: Connection, content: WorkspaceContent, position: int) -> tuple[int, str]:
        """Add the entries, checkpoints and key that the database does not have. Return the end of the log."""
        lines = (line.data for line in content.audit.lines())
        next_seq, previous = 0, GENESIS_HASH
        for stored_line in self._iter_stored_lines(connection):
            if next(lines, None) != stored_line:
                raise ConflictError(
                    f"The database contains another audit log of this workspace: its entry {next_seq} differs.",
                    _REMOVE_HINT,
                )
            next_seq, previous = next_seq + 1, leaf_hash(stored_line).hex()
        with connection.cursor().copy(statements.COPY_ENTRIES) as rows:
            for line in lines:
                rows.write_row((self._workspace_id, next_seq, line.decode(), position))
                next_seq, previous = next_seq + 1, leaf_hash(line).hex()
        checkpoints = list_checkpoints(content.audit)
        for start in range(0, len(checkpoints), _CHECKPOINTS_PER_STATEMENT):
            sizes, notes = zip(*checkpoints[start : start + _CHECKPOINTS_PER_STATEMENT], strict=True)
            parameters = {"workspace": self._workspace_id, "sizes": list(sizes), "notes": list(notes)}
            connection.execute(statements.ADD_CHECKPOINTS, parameters)
        public_key = content.audit.read_public_key().decode()
        connection.execute(statements.ADD_KEY, {"workspace": self._workspace_id, "public_key": public_key})
        return next_seq, previous

    def _iter_stored_lines(self, connection: Connection) -> Iterator[bytes]:
        with connection.cursor("lines", binary=True) as cursor:
            for (line,) in cursor.execute(statements.READ_LINES, {"workspace": self._workspace_id}):
                yield line

    # ---- reading

    def _iter_verified_documents(self, connection: Connection, documents: DocumentSet) -> Iterator[Document]:
        """Yield the documents in order, with verified MACs, and add them to ``documents``."""
        with connection.cursor("documents", binary=True) as cursor:
            cursor.execute(statements.READ_DOCUMENTS, {"workspace": self._workspace_id})
            for kind, identity, body, position, mac in cursor:
                if mac != self._authenticator.compute_document_mac(kind, identity, position, body):
                    raise _changed_copy_error(f"a document of {kind}")
                documents.add(kind, identity, self._authenticator.compute_addend(mac))
                yield kind, identity, body

    def _verify_head(self, row: Any, documents: DocumentSet, content: WorkspaceContent) -> None:
        if row is None:
            raise differing_copy_error("it was removed")
        head, mac = Head(*row[:-1]), row[-1]
        if mac != self._authenticator.compute_head_mac(head, documents.sum):
            raise _changed_copy_error("the workspace")
        expected = (content.generation.number + 1, self._attempts[-1], content.generation.mac)
        if (head.generation, head.generation_id, head.previous_generation_id) != expected:
            raise differing_copy_error("its generation does not follow that of the source")
        if (head.next_seq, head.cursor) != (content.audit.size, _find_last_cursor(content)):
            raise differing_copy_error("its row does not state the end of the audit log and of the events")


def activate_rows(database: Database, workspace_id: str, attempt: str) -> None:
    """Let engines acquire the lease of a copy. Idempotent.

    ``attempt``: the id of the copy. Raises :class:`ConflictError` if the database contains another copy or none, and
    :class:`StorageError` if it cannot be reached.
    """
    with _transaction(database, "activating the copy") as connection:
        parameters = {"workspace": workspace_id, "attempt": attempt, "holder": MOVING}
        if connection.execute(statements.ACTIVATE, parameters).rowcount:
            return
        row = connection.execute(statements.READ_ROW, parameters).fetchone()
        if row is None or _Row(*row).is_reserved:
            raise ConflictError(
                "The copy in the database was replaced or removed.",
                "Find out which other program moves this workspace. Restore the database from a backup.",
            )


def retire_rows(database: Database, workspace_id: str, generation_id: str) -> None:
    """Reserve a workspace that was moved to a folder, so that no engine opens it again. Idempotent.

    The term is raised, so that an engine that holds the lease does not release or renew it. ``generation_id``: the
    generation from which the copy was made. Raises :class:`ConflictError` if another engine has opened the workspace
    since, and :class:`StorageError` if the database cannot be reached.
    """
    with _transaction(database, "reserving the workspace") as connection:
        parameters = {"workspace": workspace_id, "generation_id": generation_id, "holder": MOVED_AWAY}
        if connection.execute(statements.RETIRE, parameters).rowcount:
            return
        row = connection.execute(statements.READ_ROW, parameters).fetchone()
        if row is not None and _Row(*row).holder != MOVED_AWAY:
            raise ConflictError(
                "An engine has opened the workspace in the database after it was moved to its folder.",
                "Find out which server uses another copy of the workspace folder, and stop it.",
            )


def require_generation(database: Database, workspace_id: str, generation_id: str) -> None:
    """Raise :class:`ConflictError` unless the workspace in the database has this generation.

    Raises :class:`StorageError` if the database cannot be reached.
    """
    with _transaction(database, "checking the source") as connection:
        row = connection.execute(statements.READ_ROW, {"workspace": workspace_id}).fetchone()
        if row is None or _Row(*row).generation_id != generation_id:
            raise ConflictError(
                "Another engine has opened the workspace while it was copied.",
                "Stop it, then move the workspace again.",
            )


@contextmanager
def _transaction(database: Database, action: str) -> Iterator[Connection]:
    connection = database.connect(autocommit=False)
    try:
        with connection.transaction():
            yield connection
    except psycopg.Error as error:
        raise storage_error(error, action) from None
    finally:
        connection.close()


def _find_last_cursor(content: WorkspaceContent) -> int:
    return _decode_cursor(content.events[-1]) if content.events else 0


def _decode_cursor(event: bytes) -> int:
    return _cursor_decoder.decode(event).cursor


def _changed_copy_error(row: str) -> StoreCorruptedError:
    return StoreCorruptedError(
        f"The copy in the database was changed while it was made: the MAC of {row} is wrong. The workspace was not"
        " changed.",
        "Find out which other program writes to the database, then move the workspace again.",
    )
