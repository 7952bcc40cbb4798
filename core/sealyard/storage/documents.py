"""The document store: the interface that the engine uses, and its implementation with TinyDB on a journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from threading import RLock
from typing import Any, Protocol, Self

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import StorageError, StoreCorruptedError
from sealyard.model.safe_text import escape_text
from sealyard.storage.batch import WriteBatch, iter_changes
from sealyard.storage.group_commit import GroupCommitter
from sealyard.storage.in_memory import InMemoryTables
from sealyard.storage.index import Key, encode_cursor
from sealyard.storage.journal import LoadedGeneration, Position, load, load_since, newest_generation, open_journal
from sealyard.storage.pending_log import PendingRecords
from sealyard.storage.tinydb_tables import StringIdDatabase, TableView

__all__ = ["DocumentStore", "Page", "RawPage", "TinyDocumentStore", "WriteBatch", "scan_documents"]

Indexes = Mapping[str, tuple[str, ...]]
"""Table name to the fields that its lists can be filtered by; ``a.b`` is the field ``b`` inside ``a``."""

SCAN_PAGE_SIZE = 500
"""Number of documents that a scan reads at a time."""

_LOAD_ATTEMPTS = 5  # a reader retries when it meets a compaction or a rollback


class Page(FrozenStruct, frozen=True, kw_only=True):
    """One page of a list.

    ``next`` is the cursor of the following page, None on the last one. ``total`` counts all documents that match.
    """

    documents: tuple[tuple[str, dict[str, Any]], ...]
    next: str | None
    total: int


class RawPage(FrozenStruct, frozen=True, kw_only=True):
    """One page of a list with its documents still encoded, for callers that decode only some of them."""

    keys: tuple[Key, ...]
    documents: tuple[bytes, ...]
    more: bool

    def cursor(self, count: int) -> str | None:
        """Return the cursor that continues after the first ``count`` documents.

        Returns None if ``count`` is 0 or the list ends there.
        """
        return encode_cursor(self.keys[count - 1]) if count and (self.more or count < len(self.keys)) else None


class DocumentStore(Protocol):
    """Stores documents in tables and changes them in atomic batches. Returned documents are copies."""

    def submit(self, batch: WriteBatch) -> Future[None]:
        """Apply ``batch`` and return a future that is done when the batch is durable.

        All readers see the change at once, in the order of the calls. The future cannot be cancelled. If the disk
        refuses the write, this batch and all batches that are pending with or after it fail with :class:`StorageError`
        and are rolled back together; they can be submitted again.

        Raises :class:`InvalidInputError` immediately if something cannot be encoded as JSON.
        """
        ...

    def snapshot_lock(self) -> AbstractContextManager[object]:
        """Return the lock that prevents rollbacks while it is held.

        A caller holds it to read, decide and submit without another change in between. It must not wait for a future,
        compact or close the store while it holds the lock.
        """
        ...

    def get(self, table: str, id: str) -> dict[str, Any] | None: ...  # noqa: A002

    def get_json(self, table: str, id: str) -> bytes | None:  # noqa: A002
        """Return the encoded document, for callers that decode it into their own type; None if it does not exist."""
        ...

    def all(self, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return an iterator over all documents as of the call. Each document is decoded when it is reached."""
        ...

    def ids(self, table: str, prefix: str) -> list[str]:
        """Return the ids that start with ``prefix``, sorted.

        The cost depends on how many ids match, not on the size of the table. No document is read.
        """
        ...

    def count(self, table: str, filters: Mapping[str, str] | None = None) -> int:
        """Return how many documents exist, or how many match ``filters`` (as in :meth:`page`). No document is read."""
        ...

    def page(
        self,
        table: str,
        *,
        filters: Mapping[str, str],
        newest_first: bool = True,
        after: str | None = None,
        limit: int,
    ) -> Page:
        """Return one page of the documents, ordered by ``createdAt`` (RFC 3339, UTC with ``Z``), then id.

        ``after`` is a cursor from an earlier page. Raises :class:`UsageError` for a field that is not indexed and for
        an invalid cursor.
        """
        ...

    def page_json(
        self,
        table: str,
        *,
        filters: Mapping[str, str],
        newest_first: bool = True,
        after: str | None = None,
        limit: int,
    ) -> RawPage:
        """Return the same page as :meth:`page`, with its documents still encoded."""
        ...

    def pending_audit(self) -> list[dict[str, Any]]:
        """Return the durable audit entries that are not known to be in the audit log, ordered by ``seq``.

        An entry is returned until :meth:`compact` was called with its ``seq`` or a higher one, so the caller must move
        entries to the audit log idempotently.
        """
        ...

    def recent_events(self) -> list[dict[str, Any]]:
        """Return the last durable events, oldest first, at most 10,000."""
        ...

    @property
    def needs_compaction(self) -> bool: ...

    def compact(self, audit_moved_to: int) -> None:
        """Write a snapshot of all documents and start a new journal.

        Blocks while all documents are written, during which other threads can submit; call it in a thread. Audit
        entries with a ``seq`` above ``audit_moved_to`` are kept.
        """
        ...

    def refresh(self) -> bool:
        """Load what other processes committed since the last call, and return whether anything changed.

        Only a store that is open for reading is refreshed; one that is open for writing returns False.
        """
        ...

    def close(self) -> None: ...


def scan_documents(store: DocumentStore, table: str, filters: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the encoded documents that match ``filters``, newest first, reading page by page.

    Documents that are saved meanwhile may be included or not.
    """
    after: str | None = None
    while True:
        page = store.page_json(table, filters=filters, after=after, limit=SCAN_PAGE_SIZE)
        yield from page.documents
        after = page.cursor(len(page.documents))
        if after is None:
            return


class TinyDocumentStore:
    """:class:`DocumentStore` in a folder: TinyDB tables that are kept in memory and persisted in a journal."""

    def __init__(self, folder: Path, indexes: Indexes) -> None:
        """Create a store that is empty and not open; use :meth:`open`."""
        self.torn: Path | None = None
        """File with the torn end of an unfinished write, if :meth:`open` found one and set it aside."""
        self._folder = folder
        self._indexes = indexes
        self._lock = RLock()
        self._memory = InMemoryTables(indexes)
        self._pending_records = PendingRecords()
        self._committer: GroupCommitter | None = None
        self._position = Position(0, 0, 0)
        self._database = StringIdDatabase(self)

    @classmethod
    def open(cls, folder: Path, indexes: Indexes, *, write: bool) -> Self:
        """Open the store in ``folder``.

        With ``write``, the caller holds the :class:`~sealyard.fs.workspace_lock.WorkspaceLock`, and an empty folder
        becomes a store. A reader needs no lock and loads later changes with :meth:`refresh`.

        Raises :class:`StoreCorruptedError`, :class:`WorkspaceError` and :class:`StorageError`.
        """
        store = cls(folder, indexes)
        if not write:
            store._load()
            return store
        journal, loaded, store.torn = open_journal(folder)
        store._replay(loaded)
        store._committer = GroupCommitter(journal, store._memory, store._pending_records, store._lock)
        return store

    @property
    def tables(self) -> Mapping[str, Mapping[str, bytes]]:
        return self._memory.tables

    @property
    def database(self) -> StringIdDatabase:
        """The documents through TinyDB's API."""
        return self._database

    def snapshot_lock(self) -> AbstractContextManager[object]:
        return self._lock

    def submit(self, batch: WriteBatch) -> Future[None]:
        return self._writer().submit(batch)

    def get(self, table: str, id: str) -> dict[str, Any] | None:  # noqa: A002
        with self._lock:
            return self._database.table(table).get(doc_id=id)  # type: ignore[call-overload,no-any-return]

    def get_json(self, table: str, id: str) -> bytes | None:  # noqa: A002
        with self._lock:
            return self.tables.get(table, {}).get(id)

    def all(self, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
        with self._lock:
            documents = dict(self.tables.get(table, {}))
        return iter(TableView(documents).items())

    def ids(self, table: str, prefix: str) -> list[str]:
        with self._lock:
            return self._memory.ids(table, prefix)

    def count(self, table: str, filters: Mapping[str, str] | None = None) -> int:
        with self._lock:
            return self._memory.index(table).count(filters) if filters else len(self.tables.get(table, {}))

    def page(
        self,
        table: str,
        *,
        filters: Mapping[str, str],
        newest_first: bool = True,
        after: str | None = None,
        limit: int,
    ) -> Page:
        with self._lock:
            keys, more, total = self._memory.index(table).page(filters, newest_first, after, limit)
            view = TableView(self.tables.get(table, {}))
            documents = tuple((identity, view[identity]) for _, identity in keys)
        return Page(documents=documents, next=encode_cursor(keys[-1]) if more and keys else None, total=total)

    def page_json(
        self,
        table: str,
        *,
        filters: Mapping[str, str],
        newest_first: bool = True,
        after: str | None = None,
        limit: int,
    ) -> RawPage:
        with self._lock:
            keys, more, _ = self._memory.index(table).page(filters, newest_first, after, limit)
            encoded = self.tables.get(table, {})
            documents = tuple([encoded[identity] for _, identity in keys])
        return RawPage(keys=tuple(keys), documents=documents, more=more)

    def pending_audit(self) -> list[dict[str, Any]]:
        with self._lock:
            return [msgspec.json.decode(entry) for entry in self._pending_records.audit]

    def recent_events(self) -> list[dict[str, Any]]:
        with self._lock:
            return [msgspec.json.decode(event) for event in self._pending_records.events]

    @property
    def needs_compaction(self) -> bool:
        return self._committer is not None and self._committer.needs_compaction

    def compact(self, audit_moved_to: int) -> None:
        self._writer().compact(audit_moved_to)

    def refresh(self) -> bool:
        if self._committer is not None:
            return False
        try:
            if newest_generation(self._folder) == self._position.generation:
                records, position = load_since(self._folder, self._position)
                with self._lock:
                    for record in records:
                        self._memory.apply(iter_changes(record))
                        self._pending_records.add(record)
                    self._position = position
                return bool(records)
        except (FileNotFoundError, StoreCorruptedError):
            pass  # a compaction removed the files or a rollback shortened them: load the whole store
        except OSError as error:
            raise _read_error(self._folder, error) from error
        self._load()
        return True

    def close(self) -> None:
        if self._committer is not None:
            self._committer.close()

    def _writer(self) -> GroupCommitter:
        if self._committer is None:
            raise StorageError("The store is open read-only.", "Open the workspace for writing.")
        return self._committer

    def _load(self) -> None:
        self._replay(_load_with_retry(self._folder))

    def _replay(self, loaded: LoadedGeneration) -> None:
        with self._lock:
            self._memory = InMemoryTables(self._indexes, loaded.tables)
            self._pending_records = PendingRecords(loaded.audit, loaded.events)
            self._position = loaded.position


def _load_with_retry(folder: Path) -> LoadedGeneration:
    """Load the newest generation; retry if a writer compacts or rolls back a failed write meanwhile."""
    for attempt in range(_LOAD_ATTEMPTS):
        try:
            return load(folder)
        except (FileNotFoundError, StoreCorruptedError) as error:
            if attempt == _LOAD_ATTEMPTS - 1 and isinstance(error, StoreCorruptedError):
                raise
        except OSError as error:
            raise _read_error(folder, error) from error
    raise StorageError("Cannot read the store: it changed during every attempt.", "Try again.")


def _read_error(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"Cannot read the store in {escape_text(str(folder))} ({escape_text(error.strerror or '')}).",
        "Check that the workspace belongs to you and that its disk works.",
    )
