"""The audit log in PostgreSQL. Its entries are stored by the statement that commits their unit of work.

The engine's role can insert and read entries, checkpoints and the key, but cannot change or delete them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from threading import Lock
from typing import Any, Self

import psycopg

from sealyard.audit.encoding import decode_entry
from sealyard.audit.source import MATCH_ALL, AuditSource, StoredLine
from sealyard.audit.store import AuditStore, LogHead
from sealyard.model.audit import AuditEntry, AuditFilter, Checkpoint
from sealyard.model.errors import AuditVerificationError, FencedError
from sealyard.model.hints import Hint, HintCode
from sealyard.storage.postgres.authentication import Head
from sealyard.storage.postgres.connection import Connection, Database, interrupt, storage_error
from sealyard.storage.postgres.journal import PgJournal

PAGE_SIZE = 1000
"""Number of entries that are read with one statement."""

_ENTRIES = "audit_entry"

_READ_PAGE = """
SELECT seq, convert_to(line::text, 'UTF8') FROM sealyard.audit_entry
WHERE workspace = %(workspace)s AND seq > %(after)s AND seq < %(before)s
  AND (%(resource)s::text = '' OR line->>'resource' = %(resource)s)
  AND (%(author)s::text = '' OR line->>'author' = %(author)s)
ORDER BY seq {order} LIMIT %(limit)s
"""
_READ_OLDEST, _READ_NEWEST = _READ_PAGE.format(order="ASC"), _READ_PAGE.format(order="DESC")

_READ_NOTES = """
SELECT size, note FROM sealyard.audit_checkpoint
WHERE workspace = %(workspace)s AND size > %(after)s ORDER BY size LIMIT %(limit)s
"""

_INSERT_NOTE = """
WITH held AS (
  SELECT id FROM sealyard.workspace
  WHERE id = %(workspace)s AND term = %(term)s AND generation_id = %(generation_id)s AND next_seq >= %(size)s),
stored AS (
  INSERT INTO sealyard.audit_checkpoint (workspace, size, note)
  SELECT id, %(size)s, %(note)s FROM held ON CONFLICT DO NOTHING)
SELECT id FROM held
"""
"""Inserts a checkpoint, unless the database lacks entries that it covers, because it lost acknowledged commits."""

_MAX_SEQ = (1 << 63) - 1


class PgAuditReader(AuditSource):
    """Reads the audit log of a workspace, with one connection for all threads."""

    CHECKPOINTS = "the table audit_checkpoint"
    PUBLIC_KEY = "the row in audit_key"

    def __init__(self, database: Database, workspace_id: str) -> None:
        self._database = database
        self._workspace_id = workspace_id
        self._lock = Lock()
        self._connection: Connection | None = None

    @property
    def size(self) -> int:
        rows = self._fetch("SELECT max(seq) FROM sealyard.audit_entry WHERE workspace = %(workspace)s")
        newest_seq = rows[0][0]
        return 0 if newest_seq is None else int(newest_seq) + 1

    def last_note(self) -> str | None:
        rows = self._fetch(
            "SELECT note FROM sealyard.audit_checkpoint WHERE workspace = %(workspace)s ORDER BY size DESC LIMIT 1"
        )
        return str(rows[0][0]) if rows else None

    def notes(self) -> Iterator[str]:
        rows = self._fetch(_READ_NOTES, after=-1, limit=PAGE_SIZE)
        while rows:
            yield from (note for _, note in rows)
            rows = self._fetch(_READ_NOTES, after=rows[-1][0], limit=PAGE_SIZE)

    def find_public_key(self) -> bytes | None:
        rows = self._fetch("SELECT public_key FROM sealyard.audit_key WHERE workspace = %(workspace)s")
        return str(rows[0][0]).encode() if rows else None

    def lines(self) -> Iterator[StoredLine]:
        for seq, line in self._iter_rows(MATCH_ALL, newest_first=False, after_seq=None):
            yield StoredLine(source=_ENTRIES, unit="row", number=seq, data=line)

    def entries(
        self,
        filters: AuditFilter = MATCH_ALL,
        *,
        newest_first: bool = True,
        after_seq: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        page_size = limit if filters == MATCH_ALL else PAGE_SIZE
        rows = self._iter_rows(filters, newest_first=newest_first, after_seq=after_seq, page_size=page_size)
        return list(islice(_iter_matching(rows, filters), limit))

    def all_entries(self, filters: AuditFilter = MATCH_ALL) -> Iterator[AuditEntry]:
        return _iter_matching(self._iter_rows(filters, newest_first=False, after_seq=None), filters)

    def interrupt(self) -> None:
        """Make a call that another thread waits for fail."""
        connection = self._connection
        if connection is not None:
            interrupt(connection)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    def _iter_rows(
        self, filters: AuditFilter, *, newest_first: bool, after_seq: int | None, page_size: int = PAGE_SIZE
    ) -> Iterator[tuple[int, bytes]]:
        """Yield number and content of the entries that match those filters for which there is an index.

        Each page is a statement of its own, so that no transaction stays open between two of them.
        """
        after, before = -1, _MAX_SEQ
        while True:
            if after_seq is not None:
                after, before = (after, after_seq) if newest_first else (after_seq, before)
            rows = self._fetch(
                _READ_NEWEST if newest_first else _READ_OLDEST,
                after=after,
                before=before,
                resource=filters.resource,
                author=filters.author,
                limit=page_size,
            )
            yield from rows
            if len(rows) < page_size:
                return
            after_seq = rows[-1][0]

    def _fetch(self, statement: str, **parameters: Any) -> list[Any]:
        """Execute a statement that only reads, a second time if the connection has been lost."""
        with self._lock:
            is_retry = self._connection is None or self._connection.closed
            while True:
                connection = self._connect()
                try:
                    return connection.execute(statement, {"workspace": self._workspace_id, **parameters}).fetchall()
                except psycopg.Error as error:
                    if is_retry or not connection.closed:
                        raise storage_error(error, "reading the audit log") from None
                    is_retry = True

    def _connect(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._database.connect()
        return self._connection


class PgAudit(AuditStore, PgAuditReader):
    """The only writer of the audit log, as the engine that holds the lease of the workspace."""

    def __init__(self, database: Database, workspace_id: str, head: Head) -> None:
        PgAuditReader.__init__(self, database, workspace_id)
        AuditStore.__init__(self)
        self._writer = {"term": head.term, "generation_id": head.generation_id}

    @classmethod
    def open(cls, database: Database, workspace_id: str, head: Head) -> Self:
        """Load the log, and check that it ends with the entry that the verified ``head`` of the store names.

        Raises :class:`AuditVerificationError` if it does not, if the entries do not match the newest checkpoint, or if
        an entry after it does not follow the previous one.
        """
        log = cls(database, workspace_id, head)
        try:
            log._load(LogHead(next_seq=head.next_seq, previous=head.previous))
        except BaseException:
            log.close()
            raise
        return log

    def pin_key(self, public_key: bytes) -> None:
        self._fetch(
            "INSERT INTO sealyard.audit_key (workspace, public_key) VALUES (%(workspace)s, %(public_key)s)"
            " ON CONFLICT DO NOTHING RETURNING 1",
            public_key=public_key.decode(),
        )
        if self.find_public_key() != public_key:
            raise AuditVerificationError(
                f"{self.PUBLIC_KEY} is not the key that signs this workspace's audit checkpoints: it was changed.",
                Hint.of(HintCode.VERIFY_AUDIT),
            )

    def _load(self, head: LogHead) -> None:
        checkpoint = self.last_checkpoint()
        self._checkpointed_size = 0 if checkpoint is None else checkpoint.size
        self._load_lines((line.data for line in self.lines()), _ENTRIES)
        if self._stored_head != head:
            raise AuditVerificationError(
                f"The audit log was changed: it has {self._stored_head.next_seq} entries, but the store was committed"
                f" with {head.next_seq}, or its last entry is another one.",
                "Restore the database from a backup.",
            )
        self._require_checkpointed_root(checkpoint)

    def _store_lines(self, lines: Sequence[bytes]) -> int:
        """Return the number of lines, which the commit of their unit of work has stored."""
        return len(lines)

    def _store_note(self, checkpoint: Checkpoint, note: str) -> None:
        rows = self._fetch(_INSERT_NOTE, size=checkpoint.size, note=note, **self._writer)
        if not rows:
            raise FencedError(
                "Another engine has taken over the workspace, or the database has lost acknowledged commits. This"
                " engine writes nothing more.",
                "Find out whether an asynchronous replica was promoted, or an older state restored.",
            )


class PgAuditView(PgAuditReader):
    """Reads the log of an engine that writes it. Its sizes are known without the database."""

    def __init__(self, database: Database, workspace_id: str, audit: PgAudit, journal: PgJournal) -> None:
        super().__init__(database, workspace_id)
        self._audit = audit
        self._journal = journal

    @property
    def size(self) -> int:
        return self._journal.head.next_seq

    @property
    def checkpointed_size(self) -> int:
        return self._audit.checkpointed_size


def _iter_matching(rows: Iterator[tuple[int, bytes]], filters: AuditFilter) -> Iterator[AuditEntry]:
    entries = (decode_entry(line, _ENTRIES) for _, line in rows)
    return (entry for entry in entries if filters.matches(entry))
