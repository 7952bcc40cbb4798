"""The audit log in PostgreSQL. Its entries are stored by the statement that commits their unit of work.

The engine's role can insert and read entries, checkpoints and the key, but cannot change or delete them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from threading import Lock
from typing import Any, Self

import psycopg

from sealyard.audit.checkpoint import parse_note
from sealyard.audit.encoding import decode_entry
from sealyard.audit.merkle import Frontier, leaf_hash
from sealyard.audit.source import MATCH_ALL, AuditSource, StoredLine
from sealyard.audit.store import AuditStore, LogHead
from sealyard.model.audit import GENESIS_HASH, AuditEntry, AuditFilter, Checkpoint
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

_READ_NEWEST_CHECKPOINT = """
SELECT note, frontier FROM sealyard.audit_checkpoint WHERE workspace = %(workspace)s ORDER BY size DESC LIMIT 1
"""

_INSERT_NOTE = """
WITH held AS (
  SELECT id FROM sealyard.workspace
  WHERE id = %(workspace)s AND term = %(term)s AND generation_id = %(generation_id)s AND next_seq >= %(size)s),
stored AS (
  INSERT INTO sealyard.audit_checkpoint (workspace, size, note, frontier)
  SELECT id, %(size)s, %(note)s, %(frontier)s::bytea[] FROM held ON CONFLICT DO NOTHING)
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
                    named = {"workspace": self._workspace_id, **parameters}
                    return connection.execute(statement, named, binary=True).fetchall()
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
        """Load the entries after the newest checkpoint, and check that they end as the verified ``head`` says.

        The tree of the older entries is stored with the checkpoint; their contents are not read. All entries are read
        if it is missing, because an earlier version or another program has stored the checkpoint.

        Raises :class:`AuditVerificationError` if the log ends with another entry, if the stored tree or the entries do
        not match the newest checkpoint, or if an entry after it does not follow the previous one.
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
        checkpoint, peaks = self._read_newest_checkpoint()
        self._checkpointed_size = 0 if checkpoint is None else checkpoint.size
        rows = self._iter_rows(MATCH_ALL, newest_first=False, after_seq=None)
        if checkpoint is not None and peaks is not None:
            rows = self._restore_tree(checkpoint, peaks)
        self._load_lines((line for _, line in rows), _ENTRIES)
        if self._stored_head != head:
            raise AuditVerificationError(
                f"The audit log was changed: it has {self._stored_head.next_seq} entries, but the store was committed"
                f" with {head.next_seq}, or its last entry is another one.",
                "Restore the database from a backup.",
            )
        self._require_checkpointed_root(checkpoint)

    def _read_newest_checkpoint(self) -> tuple[Checkpoint | None, list[bytes] | None]:
        """Return the newest checkpoint and the tree that is stored with it."""
        rows = self._fetch(_READ_NEWEST_CHECKPOINT)
        if not rows:
            return None, None
        note, peaks = rows[0]
        return parse_note(note)[0], peaks

    def _restore_tree(self, checkpoint: Checkpoint, peaks: list[bytes]) -> Iterator[tuple[int, bytes]]:
        """Start with the tree of a checkpoint, and return the entries after it.

        The entry before them is read too, because the first one contains its hash.
        """
        tree = Frontier.restore(checkpoint.size, peaks)
        if tree.root().hex() != checkpoint.root:
            raise AuditVerificationError(
                f"The tree that is stored with the checkpoint of size {checkpoint.size} was changed: it does not match"
                " the checkpoint.",
                "Find out who changed the table audit_checkpoint, and restore the database from a backup.",
            )
        rows = self._iter_rows(MATCH_ALL, newest_first=False, after_seq=tree.size - 2)
        previous_hash = GENESIS_HASH
        if tree.size > 0:
            seq, line = next(rows, (None, b""))
            if seq != tree.size - 1:
                raise AuditVerificationError(
                    f"Entry {tree.size - 1} of the audit log is missing.", Hint.of(HintCode.VERIFY_AUDIT)
                )
            previous_hash = leaf_hash(line).hex()
        self._restore_checkpointed(tree, previous_hash)
        return rows

    def _store_lines(self, lines: Sequence[bytes]) -> int:
        """Return the number of lines, which the commit of their unit of work has stored."""
        return len(lines)

    def _store_note(self, note: str, tree: Frontier) -> None:
        rows = self._fetch(_INSERT_NOTE, size=tree.size, note=note, frontier=list(tree.peaks), **self._writer)
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
