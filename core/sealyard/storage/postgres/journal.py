"""The journal in PostgreSQL: each group of commits is one statement.

The statement changes nothing unless the workspace has the term of this engine and the position of its last commit. If
the connection is lost while it runs, its outcome is unknown; the position and MAC of the workspace then show whether it
was committed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import psycopg

from sealyard.audit.encoding import decode_entry, encode_entry
from sealyard.audit.merkle import leaf_hash
from sealyard.model.cluster import HeldLease
from sealyard.model.errors import ConcurrentWriterError, FencedError, InvalidInputError, InvariantError, StorageError
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.batch import iter_changes
from sealyard.storage.frame_format import EncodedBatch
from sealyard.storage.pending_log import MAX_EVENTS
from sealyard.storage.postgres import statements
from sealyard.storage.postgres.authentication import DocumentSet, Head, RowAuthenticator
from sealyard.storage.postgres.connection import Connection, Database, storage_error
from sealyard.storage.postgres.lease import LeaseKeeper, taken_over_error

RESOLVE_SECONDS = 60.0
"""Time for reaching the database again after a connection was lost. Then the commits that wait fail."""

RETRY_SECONDS = 0.25

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class _EventCursor(msgspec.Struct):
    cursor: int


_cursor_decoder = msgspec.json.Decoder(_EventCursor)


class _Commit(NamedTuple):
    """A group of batches: the head after it, the addends of its documents, and the parameters of the statement."""

    head: Head
    addends: dict[tuple[str, str], int | None]
    parameters: dict[str, Any]


class PgJournal:
    """:class:`~sealyard.storage.journal_protocol.Journal` in PostgreSQL."""

    needs_compaction = False

    def __init__(
        self,
        database: Database,
        connection: Connection,
        authenticator: RowAuthenticator,
        head: Head,
        documents: DocumentSet,
        lease: LeaseKeeper,
    ) -> None:
        """Wrap a verified store whose lease this engine holds; use :mod:`sealyard.storage.postgres.opening` instead."""
        self._database = database
        self._connection = connection
        self._authenticator = authenticator
        self._head = head
        self._documents = documents
        self._lease = lease
        self._error: FencedError | None = None
        self._unresolved_commit: _Commit | None = None
        lease.interrupt_when_lost(connection)

    @property
    def head(self) -> Head:
        return self._head

    @property
    def generation(self) -> StoreGeneration:
        return StoreGeneration(number=self._head.generation, mac=self._head.generation_id)

    def start_compaction(self) -> None:
        """Return None: the tables do not need to be written again."""

    def check(self, batch: EncodedBatch) -> None:
        """Raise :class:`InvalidInputError` if a text contains U+0000, which PostgreSQL does not support."""
        names = (name for put in (*batch.puts, *batch.removes) for name in put[:2])
        documents = (bytes(document) for document in (*(put[2] for put in batch.puts), *batch.audit, *batch.events))
        if any("\0" in name for name in names) or any(map(contains_nul, documents)):
            raise InvalidInputError(
                "A text contains the character U+0000, which the database does not support.",
                "Remove the character and try again.",
            )

    def append(self, batches: Sequence[EncodedBatch]) -> None:
        """Commit the batches in one statement; see :class:`~sealyard.storage.journal_protocol.Journal`.

        Raises :class:`FencedError` if another engine has taken over, if the database has lost an earlier commit, or if
        a commit took effect that an earlier call has reported as failed, because the database could not be reached.
        """
        if (error := self._error or self._lease.error) is not None:
            raise error
        try:
            self._settle_unresolved_commit()
            commit = self._build_commit(batches)
            self._execute(commit)
        except FencedError as error:
            self._error = error
            raise
        self._documents.apply(commit.addends)
        self._head = commit.head

    @property
    def lease(self) -> HeldLease:
        return self._lease.held

    def on_fenced(self, callback: Callable[[ConcurrentWriterError], object]) -> None:
        self._lease.on_lost(callback)

    def close(self) -> None:
        self._lease.close()
        self._connection.close()

    # ---- the statement

    def _build_commit(self, batches: Sequence[EncodedBatch]) -> _Commit:
        position = self._head.position + 1
        documents = {(kind, identity): body for batch in batches for kind, identity, body in iter_changes(batch)}
        puts = [(kind, identity, body) for (kind, identity), body in documents.items() if body is not None]
        deletes = [key for key, body in documents.items() if body is None and self._documents.contains(*key)]
        macs = [
            self._authenticator.compute_document_mac(kind, identity, position, body) for kind, identity, body in puts
        ]
        addends: dict[tuple[str, str], int | None] = dict.fromkeys(deletes)
        for (kind, identity, _), mac in zip(puts, macs, strict=True):
            addends[kind, identity] = self._authenticator.compute_addend(mac)
        audit, next_seq, previous = self._build_audit_parameters(batches)
        events, cursor = self._build_event_parameters(batches)
        head = self._head._replace(position=position, next_seq=next_seq, previous=previous, cursor=cursor)
        return _Commit(
            head,
            addends,
            {
                "workspace": self._authenticator.workspace_id,
                "term": head.term,
                "generation_id": head.generation_id,
                "position": position,
                "next_seq": next_seq,
                "previous": previous,
                "cursor": cursor,
                "mac": self._authenticator.compute_head_mac(head, self._documents.sum_after(addends)),
                "kinds": [kind for kind, _, _ in puts],
                "ids": [identity for _, identity, _ in puts],
                "bodies": [body.decode() for _, _, body in puts],
                "macs": macs,
                "deleted_kinds": [kind for kind, _ in deletes],
                "deleted_ids": [identity for _, identity in deletes],
                "kept_events": MAX_EVENTS,
                **audit,
                **events,
            },
        )

    def _build_audit_parameters(self, batches: Sequence[EncodedBatch]) -> tuple[dict[str, list[Any]], int, str]:
        """Return the columns of the audit entries, and the end of the audit log after them."""
        entries = [decode_entry(entry, "A unit of work") for batch in batches for entry in batch.audit]
        lines = [encode_entry(entry) for entry in entries]
        next_seq, previous = self._head.next_seq, self._head.previous
        for entry, line in zip(entries, lines, strict=True):
            if (entry.seq, entry.previous) != (next_seq, previous):
                raise InvariantError(f"Audit entry {entry.seq} does not follow the previous one.", "Report this bug.")
            next_seq, previous = entry.seq + 1, leaf_hash(line).hex()
        columns: dict[str, list[Any]] = {
            "seqs": [entry.seq for entry in entries],
            "lines": [line.decode() for line in lines],
        }
        return columns, next_seq, previous

    def _build_event_parameters(self, batches: Sequence[EncodedBatch]) -> tuple[dict[str, list[Any]], int]:
        """Return the columns of the events, and the cursor of the newest one."""
        events = [bytes(event) for batch in batches for event in batch.events]
        cursors = [_cursor_decoder.decode(event).cursor for event in events]
        columns: dict[str, list[Any]] = {
            "cursors": cursors,
            "events": [event.decode() for event in events],
            "event_macs": [
                self._authenticator.compute_event_mac(cursor, event)
                for cursor, event in zip(cursors, events, strict=True)
            ],
        }
        return columns, cursors[-1] if cursors else self._head.cursor

    # ---- its outcome

    def _settle_unresolved_commit(self) -> None:
        """Find out what became of a commit that was reported as failed, although its outcome was unknown."""
        if self._unresolved_commit is None:
            return
        if self._was_committed(self._unresolved_commit):
            raise FencedError(
                "A change took effect that was reported as failed, because the database could not be reached. This"
                " engine writes nothing more.",
                "Restart the engine, so that it loads the change.",
            )
        self._unresolved_commit = None

    def _execute(self, commit: _Commit) -> None:
        """Execute the statement, again if its outcome is unknown, until it was committed or rejected."""
        while True:
            try:
                if self._connection.execute(statements.COMMIT, commit.parameters).fetchone() is not None:
                    return
            except psycopg.errors.ReadOnlySqlTransaction as error:
                # This server is a standby now; the next connection finds the primary.
                self._connection.close()
                raise storage_error(error, "writing the change") from None
            except psycopg.Error as error:
                if not self._connection.closed:
                    # The server has answered, so that it has rolled back the statement.
                    raise storage_error(error, "writing the change") from None
            self._unresolved_commit = commit
            is_committed = self._was_committed(commit)
            self._unresolved_commit = None
            if is_committed:
                return

    def _was_committed(self, commit: _Commit) -> bool:
        """Return whether the statement was committed; False if it had no effect and can be repeated.

        Raises :class:`FencedError` if neither is the case, and :class:`StorageError` if the database cannot be reached.
        """
        row = self._read_outcome()
        if row is None:
            raise FencedError(
                "The workspace was removed from the database. This engine writes nothing more.",
                "Restore the database from a backup.",
            )
        term, generation_id, position, mac = row
        if (position, mac) == (commit.head.position, commit.parameters["mac"]):
            return True
        if position < self._head.position:
            raise FencedError(
                f"The database has lost acknowledged commits: it is at position {position}, this engine at"
                f" {self._head.position}. This engine writes nothing more.",
                "Find out whether an asynchronous replica was promoted, or an older state restored.",
            )
        if (term, generation_id) != (commit.head.term, commit.head.generation_id):
            raise taken_over_error()
        if position == self._head.position:
            return False
        raise FencedError(
            "Another program changed the workspace in the database. This engine writes nothing more.",
            "Find out which program uses the role of the engine.",
        )

    def _read_outcome(self) -> tuple[Any, ...] | None:
        deadline = time.monotonic() + RESOLVE_SECONDS
        while self._lease.error is None:
            try:
                if self._connection.closed:
                    self._connection = self._database.connect()
                    self._lease.interrupt_when_lost(self._connection)
                parameters = {"workspace": self._authenticator.workspace_id}
                return self._connection.execute(statements.READ_OUTCOME, parameters).fetchone()
            except (psycopg.Error, StorageError) as error:
                if time.monotonic() > deadline:
                    raise StorageError(
                        "The connection to the database was lost, and it cannot be reached to find out whether the"
                        " change took effect.",
                        "Check the database, then the state of the object, before you try again.",
                    ) from error
            time.sleep(RETRY_SECONDS)
        raise self._lease.error


def contains_nul(document: bytes) -> bool:
    """Return whether a text in the JSON contains U+0000."""
    return b"\\u0000" in document and _NUL.search(document) is not None
