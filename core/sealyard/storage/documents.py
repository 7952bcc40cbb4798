"""The document store: the interface that the engine uses, and its implementation with TinyDB on top of a journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Lock, RLock
from typing import Any, Protocol, Self

import msgspec

from sealyard.model.cluster import HeldLease
from sealyard.model.errors import ConcurrentWriterError, StorageError
from sealyard.model.health import CommitTimes
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.batch import WriteBatch, iter_changes
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.group_commit import GroupCommitter
from sealyard.storage.in_memory import InMemoryTables
from sealyard.storage.index import encode_cursor
from sealyard.storage.journal_protocol import Journal, Tables
from sealyard.storage.opening import StoreOpening
from sealyard.storage.pages import Page, RawPage
from sealyard.storage.pending_log import PendingRecords
from sealyard.storage.reader import StoreReader, StoreSource
from sealyard.storage.tinydb_tables import StringIdDatabase, TableView

__all__ = ["DocumentStore", "Page", "RawPage", "TinyDocumentStore", "WriteBatch"]

Indexes = Mapping[str, tuple[str, ...]]
"""By table name: the fields by which documents can be filtered; ``a.b`` is the field ``b`` inside ``a``."""


class DocumentStore(Protocol):
    """Stores documents in tables and changes them in atomic batches. Returned documents are copies."""

    def submit(self, batch: WriteBatch) -> Future[None]:
        """Apply ``batch`` and return a future that is done when the batch is durable.

        All readers see the change immediately, in the order of the calls. The future cannot be cancelled. If the disk
        refuses the write, this batch and all batches that are pending with or after it fail with :class:`StorageError`
        and are rolled back together; they can be submitted again.

        Raises :class:`InvalidInputError` immediately if a part of the batch cannot be encoded as JSON.
        """
        ...

    def snapshot_lock(self) -> AbstractContextManager[object]:
        """Return the lock that prevents rollbacks while it is held.

        A caller holds the lock to read documents and submit a batch without another change in between. While it holds
        the lock, it must not wait for a future, compact the store or close the store.
        """
        ...

    def get(self, table: str, id: str) -> dict[str, Any] | None: ...  # noqa: A002

    def get_json(self, table: str, id: str) -> bytes | None:  # noqa: A002
        """Return the encoded document, for callers that decode it themselves; None if it does not exist."""
        ...

    def all(self, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return an iterator over the ids and documents of a table, as of this call.

        Each document is decoded only when the iterator reaches it.
        """
        ...

    def ids(self, table: str, prefix: str) -> list[str]:
        """Return the ids that start with ``prefix``, sorted. The cost depends on how many ids match."""
        ...

    def count(self, table: str, filters: Mapping[str, str] | None = None) -> int:
        """Return the number of documents in a table, or of those that match ``filters`` (see :meth:`page`).

        No document is read.
        """
        ...

    def page(
        self,
        table: str,
        *,
        filters: Mapping[str, str],
        newest_first: bool = True,
        cursor: str | None = None,
        limit: int,
    ) -> Page:
        """Return one page of documents, ordered by ``createdAt`` (RFC 3339, UTC with ``Z``), then id.

        ``filters`` are values of indexed fields that the documents must have. ``cursor`` is the cursor from an earlier
        page; None for the first page. Raises :class:`UsageError` if a field is not indexed or the cursor is invalid.
        """
        ...

    def page_json(
        self,
        table: str,
        *,
        filters: Mapping[str, str],
        newest_first: bool = True,
        cursor: str | None = None,
        limit: int,
    ) -> RawPage:
        """Return the same page as :meth:`page`, with its documents still encoded."""
        ...

    def pending_audit(self, from_seq: int = 0) -> list[dict[str, Any]]:
        """Return the durable audit entries that are not known to be in the audit log, ordered by ``seq``.

        Entries with a ``seq`` below ``from_seq`` are left out.

        An entry is returned until :meth:`compact` has been called with its ``seq`` or a higher one, so a caller that
        moves entries to the audit log must skip those that are already there.
        """
        ...

    def recent_events(self) -> list[dict[str, Any]]:
        """Return the newest durable events, at most 10,000 of them, oldest first."""
        ...

    @property
    def tables(self) -> Tables:
        """All documents, as JSON. The caller must make sure that they do not change meanwhile."""
        ...

    def recent_events_json(self) -> list[bytes]:
        """Return the same events as :meth:`recent_events`, still encoded."""
        ...

    @property
    def generation(self) -> StoreGeneration | None:
        """The current generation, which the worker state must record; None if the store is not open for writing.

        It changes with :meth:`compact`. It must be recorded before the next call of :meth:`compact`, and at the start.
        """
        ...

    @property
    def was_migrated(self) -> bool:
        """Whether an earlier version wrote the store without MACs, before it was opened."""
        ...

    @property
    def needs_compaction(self) -> bool: ...

    def compact(self, audit_moved_to: int) -> None:
        """Write a snapshot of all documents and start a new journal.

        Blocks until all documents are written, so call it in a worker thread; other threads can submit batches
        meanwhile. ``audit_moved_to`` is the ``seq`` of the last audit entry that was moved to the audit log; later
        entries are kept.
        """
        ...

    def refresh(self) -> bool:
        """Load what another process has committed since the last call, and return whether anything has changed.

        For a store that is open for writing, does nothing and returns False.
        """
        ...

    @property
    def commit_times(self) -> CommitTimes:
        """The durations of the commits since the store was opened."""
        ...

    @property
    def lease(self) -> HeldLease | None:
        """The lease of this engine; None if the storage needs none, or is open for reading."""
        ...

    def on_fenced(self, callback: Callable[[ConcurrentWriterError], object]) -> None:
        """Call ``callback`` once, in any thread, if the lease is lost.

        Later commits fail with the same error.
        """
        ...

    def close(self) -> None: ...


class TinyDocumentStore:
    """:class:`DocumentStore` with TinyDB tables that are kept in memory and made durable by a journal."""

    def __init__(self, indexes: Indexes) -> None:
        """Create an empty store that is not open; use one of the class methods instead."""
        self.torn: Path | None = None
        """The file to which :meth:`open` moved the torn end of an unfinished write; None if there was none."""
        self.was_migrated = False
        self._indexes = indexes
        self._lock = RLock()
        self._refresh_lock = Lock()
        self._memory = InMemoryTables(indexes)
        self._pending_records = PendingRecords()
        self._committer: GroupCommitter | None = None
        self._source: StoreSource | None = None
        self._database = StringIdDatabase(self)

    @classmethod
    def open(
        cls,
        opening: StoreOpening,
        indexes: Indexes,
        credentials: StoreCredentials,
        recorded: StoreGeneration | None,
    ) -> Self:
        """Verify the store after the first step of its opening, and open it for writing.

        The caller must hold the :class:`~sealyard.fs.workspace_lock.WorkspaceLock`. See
        :meth:`sealyard.storage.opening.StoreOpening.finish` for ``recorded`` and the exceptions.
        """
        opened = opening.finish(credentials, recorded)
        loaded = opened.loaded
        store = cls.open_journal(opened.journal, loaded.tables, PendingRecords(loaded.audit, loaded.events), indexes)
        store.torn, store.was_migrated = opened.torn_file, opened.was_migrated
        return store

    @classmethod
    def open_journal(
        cls, journal: Journal, tables: dict[str, dict[str, bytes]], records: PendingRecords, indexes: Indexes
    ) -> Self:
        """Open a store for writing that was loaded from ``journal``, which :meth:`close` closes."""
        store = cls(indexes)
        store._replace_content(tables, records)
        store._committer = GroupCommitter(journal, store._memory, store._pending_records, store._lock)
        return store

    @classmethod
    def open_reader(cls, folder: Path, indexes: Indexes) -> Self:
        """Open the store in ``folder`` for reading, without its key: the documents are not verified.

        No lock is needed: :meth:`refresh` loads what another process has written since. Raises
        :class:`StoreCorruptedError` if a file is damaged, :class:`WorkspaceError` if there is no store or it has a
        newer format, and :class:`StorageError` if the disk cannot be read.
        """
        return cls.open_source(StoreReader(folder), indexes)

    @classmethod
    def open_source(cls, source: StoreSource, indexes: Indexes) -> Self:
        """Like :meth:`open_reader`, for any kind of storage. :meth:`close` closes ``source``.

        Raises the errors of :meth:`StoreSource.load`.
        """
        store = cls(indexes)
        store._source = source
        try:
            store._load(source)
        except BaseException:
            source.close()
            raise
        return store

    @property
    def tables(self) -> Tables:
        return self._memory.tables

    @property
    def database(self) -> StringIdDatabase:
        """The same documents with TinyDB's query API."""
        return self._database

    def snapshot_lock(self) -> AbstractContextManager[object]:
        return self._lock

    def submit(self, batch: WriteBatch) -> Future[None]:
        return self._require_committer().submit(batch)

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
        cursor: str | None = None,
        limit: int,
    ) -> Page:
        with self._lock:
            keys, has_more, total = self._memory.index(table).page(filters, newest_first, cursor, limit)
            view = TableView(self.tables.get(table, {}))
            documents = tuple((identity, view[identity]) for _, identity in keys)
        return Page(documents=documents, next=encode_cursor(keys[-1]) if has_more and keys else None, total=total)

    def page_json(
        self,
        table: str,
        *,
        filters: Mapping[str, str],
        newest_first: bool = True,
        cursor: str | None = None,
        limit: int,
    ) -> RawPage:
        with self._lock:
            keys, has_more, _ = self._memory.index(table).page(filters, newest_first, cursor, limit)
            encoded_documents = self.tables.get(table, {})
            documents = tuple([encoded_documents[identity] for _, identity in keys])
        return RawPage(keys=tuple(keys), documents=documents, more=has_more)

    def pending_audit(self, from_seq: int = 0) -> list[dict[str, Any]]:
        with self._lock:
            return [msgspec.json.decode(entry) for entry in self._pending_records.audit_from(from_seq)]

    def recent_events(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(event) for event in self.recent_events_json()]

    def recent_events_json(self) -> list[bytes]:
        with self._lock:
            return list(self._pending_records.events)

    @property
    def generation(self) -> StoreGeneration | None:
        return None if self._committer is None else self._committer.generation

    @property
    def needs_compaction(self) -> bool:
        return self._committer is not None and self._committer.needs_compaction

    def compact(self, audit_moved_to: int) -> None:
        self._require_committer().compact(audit_moved_to)

    @property
    def commit_times(self) -> CommitTimes:
        return self._committer.commit_times if self._committer is not None else CommitTimes()

    @property
    def lease(self) -> HeldLease | None:
        return self._committer.lease if self._committer is not None else None

    def on_fenced(self, callback: Callable[[ConcurrentWriterError], object]) -> None:
        if self._committer is not None:
            self._committer.on_fenced(callback)

    def refresh(self) -> bool:
        if self._source is None:
            return False
        with self._refresh_lock:
            return self._refresh(self._source)

    def _refresh(self, source: StoreSource) -> bool:
        batches = source.load_new_batches()
        if batches is None:
            self._load(source)
            return True
        with self._lock:
            for batch in batches:
                self._memory.apply(iter_changes(batch))
                self._pending_records.add(batch)
        return bool(batches)

    def close(self) -> None:
        if self._committer is not None:
            self._committer.close()
            return
        if self._source is not None:
            self._source.close()
        with self._lock:
            # The documents can be large, and cycles of objects may keep a closed store for a long time.
            self._memory = InMemoryTables(self._indexes)
            self._pending_records = PendingRecords()

    def _require_committer(self) -> GroupCommitter:
        if self._committer is None:
            raise StorageError("The store is open read-only.", "Open the workspace for writing.")
        return self._committer

    def _load(self, source: StoreSource) -> None:
        loaded = source.load()
        self._replace_content(loaded.tables, PendingRecords(loaded.audit, loaded.events))

    def _replace_content(self, tables: dict[str, dict[str, bytes]], records: PendingRecords) -> None:
        with self._lock:
            self._memory = InMemoryTables(self._indexes, tables)
            self._pending_records = records
