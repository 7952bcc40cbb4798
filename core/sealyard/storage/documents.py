"""The store of documents: the seam the engine uses, and TinyDB on a journal behind it."""

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

__all__ = ["DocumentStore", "Page", "RawPage", "TinyDocumentStore", "WriteBatch"]

Indexes = Mapping[str, tuple[str, ...]]
"""Table name to the fields its lists can be filtered by; ``a.b`` is the field ``b`` inside ``a``."""

_LOAD_ATTEMPTS = 5  # of a reader that meets a compaction or a failed write being taken back


class Page(FrozenStruct, frozen=True, kw_only=True):
    """A part of a list; ``next`` is the cursor of the one after it, ``total`` counts all that match."""

    documents: tuple[tuple[str, dict[str, Any]], ...]
    next: str | None
    total: int


class RawPage(FrozenStruct, frozen=True, kw_only=True):
    """A part of a list, for those who decode what they need of it, and may stop within it."""

    keys: tuple[Key, ...]
    documents: tuple[bytes, ...]
    more: bool

    def cursor(self, count: int) -> str | None:
        """Continues behind the first ``count`` documents; None at the end of the list."""
        return encode_cursor(self.keys[count - 1]) if count and (self.more or count < len(self.keys)) else None


class DocumentStore(Protocol):
    """Documents in tables, changed by units of work. Documents handed out are copies."""

    def submit(self, unit: WriteBatch) -> Future[None]:
        """Seen by all reads at once, in the order of calls; durable when the future is done.

        The future cannot be cancelled. Where the disk refuses, this unit and all that wait with or behind it
        fail with :class:`StorageError` and are taken back together; submitting again is possible.
        Raises :class:`InvalidInputError` at once for what is no JSON.
        """
        ...

    def snapshot_lock(self) -> AbstractContextManager[object]:
        """While held, nothing is taken back: for reading, deciding and submitting without a gap.

        Never wait for a future, compact or close while holding it.
        """
        ...

    def get(self, table: str, id: str) -> dict[str, Any] | None: ...  # noqa: A002

    def get_json(self, table: str, id: str) -> bytes | None:  # noqa: A002
        """The document encoded, for those who decode it into a value of their own."""
        ...

    def all(self, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """All documents as they are at the call, each decoded when it is reached."""
        ...

    def ids(self, table: str, prefix: str) -> list[str]:
        """The ids that begin so, sorted. Costs these, however many documents there are; none of them is read."""
        ...

    def count(self, table: str, filters: Mapping[str, str] | None = None) -> int:
        """How many documents there are, or match ``filters`` as of :meth:`page`; none of them is read."""
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
        """Documents by ``created_at`` (RFC 3339, UTC with ``Z``), then id; ``after``: a cursor of an earlier page.

        Raises :class:`UsageError` for a field that is not indexed and for what is no cursor.
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
        """As :meth:`page`, the documents encoded."""
        ...

    def pending_audit(self) -> list[dict[str, Any]]:
        """Durable audit entries that no compaction was told have moved; by ``seq``, to be moved idempotently."""
        ...

    def recent_events(self) -> list[dict[str, Any]]:
        """The last durable events, oldest first, at most 10,000."""
        ...

    @property
    def wants_compaction(self) -> bool: ...

    def compact(self, audit_moved_to: int) -> None:
        """Blocks for as long as writing all documents takes, while others submit: call it in a thread.

        Audit entries with a ``seq`` above ``audit_moved_to`` are kept.
        """
        ...

    def refresh(self) -> bool:
        """For a store open for reading: takes in what others committed since; whether anything changed."""
        ...

    def close(self) -> None: ...


class TinyDocumentStore:
    """:class:`DocumentStore` in a folder: TinyDB tables, kept in memory, on a journal."""

    def __init__(self, folder: Path, indexes: Indexes) -> None:
        """Empty and closed; use :meth:`open`."""
        self.torn: Path | None = None
        """Where the torn end of an unfinished write was kept aside at opening, if there was one."""
        self._folder = folder
        self._indexes = indexes
        self._lock = RLock()
        self._memory = InMemoryTables(indexes)
        self._outbox = PendingRecords()
        self._committer: GroupCommitter | None = None
        self._position = Position(0, 0, 0)
        self._database = StringIdDatabase(self)

    @classmethod
    def open(cls, folder: Path, indexes: Indexes, *, write: bool) -> Self:
        """With ``write`` the caller holds the :class:`~sealyard.fs.workspace_lock.WorkspaceLock`; an empty folder
        becomes a store then. A reader needs no lock, and follows by :meth:`refresh`.

        Raises :class:`StoreCorruptedError`, :class:`WorkspaceError`, :class:`StorageError`.
        """
        store = cls(folder, indexes)
        if not write:
            store._load()
            return store
        journal, loaded, store.torn = open_journal(folder)
        store._replay(loaded)
        store._committer = GroupCommitter(journal, store._memory, store._outbox, store._lock)
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

    def submit(self, unit: WriteBatch) -> Future[None]:
        return self._writer().submit(unit)

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
            return [msgspec.json.decode(entry) for entry in self._outbox.audit]

    def recent_events(self) -> list[dict[str, Any]]:
        with self._lock:
            return [msgspec.json.decode(event) for event in self._outbox.events]

    @property
    def wants_compaction(self) -> bool:
        return self._committer is not None and self._committer.wants_compaction

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
                        self._outbox.add(record)
                    self._position = position
                return bool(records)
        except (FileNotFoundError, StoreCorruptedError):
            pass  # compacted, or a failed write was taken back: the whole store says which
        except OSError as error:
            raise _unreadable(self._folder, error) from error
        self._load()
        return True

    def close(self) -> None:
        if self._committer is not None:
            self._committer.close()

    def _writer(self) -> GroupCommitter:
        if self._committer is None:
            raise StorageError("The store is open for reading only.", "Open the workspace for writing.")
        return self._committer

    def _load(self) -> None:
        self._replay(_load_with_retry(self._folder))

    def _replay(self, loaded: LoadedGeneration) -> None:
        with self._lock:
            self._memory = InMemoryTables(self._indexes, loaded.tables)
            self._outbox = PendingRecords(loaded.audit, loaded.events)
            self._position = loaded.position


def _load_with_retry(folder: Path) -> LoadedGeneration:
    """Tries again where a writer compacts, or takes back a failed write, while we read."""
    for attempt in range(_LOAD_ATTEMPTS):
        try:
            return load(folder)
        except (FileNotFoundError, StoreCorruptedError) as error:
            if attempt == _LOAD_ATTEMPTS - 1 and isinstance(error, StoreCorruptedError):
                raise
        except OSError as error:
            raise _unreadable(folder, error) from error
    raise StorageError("The store changes faster than it can be read.", "Try again.")


def _unreadable(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"The store in {escape_text(str(folder))} cannot be read ({escape_text(error.strerror or '')}).",
        "See that the workspace belongs to you and its disk is healthy.",
    )
