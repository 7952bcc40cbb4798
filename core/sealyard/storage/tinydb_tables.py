"""TinyDB's query API on top of the journal. The cost of a commit depends on the change, not on the size of the table.

TinyDB itself rewrites the whole database on each change. This module overrides ``Table._read_table`` and
``Table._update_table``, through which TinyDB makes all reads and changes: a change is made on an overlay that records
the modified documents, and only those are committed. Both methods are private to TinyDB; a test compares the behaviour
with that of TinyDB 4.9.

Documents are stored encoded and decoded for each reader, so that readers may modify what they get. ``TinyDB.tables()``
omits tables whose last document was removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

import msgspec
from tinydb import TinyDB
from tinydb.queries import QueryLike
from tinydb.storages import Storage
from tinydb.table import Table

from sealyard.storage.batch import WriteBatch

Fields = Mapping[str, Any] | Callable[[MutableMapping[str, Any]], None]

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class TableView(Mapping[str, dict[str, Any]]):
    """A read-only view of a table for TinyDB. Each access returns a new copy of the document."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        self.encoded_documents = documents

    def __getitem__(self, identity: str) -> dict[str, Any]:
        return _decode(self.encoded_documents[identity])

    def __iter__(self) -> Iterator[str]:
        return iter(self.encoded_documents)

    def __len__(self) -> int:
        return len(self.encoded_documents)


class _Overlay(MutableMapping[Any, dict[str, Any]]):
    """A modifiable view of a table for TinyDB, which keeps modified documents apart from the stored ones.

    Documents are decoded on access. :meth:`changes` compares them with the stored ones.
    """

    def __init__(self, documents: Mapping[str, bytes], id_class: type) -> None:
        self._documents = documents
        self._id_class = id_class
        self._modified_documents: dict[str, dict[str, Any]] = {}
        self._deleted_ids: set[str] = set()

    def __getitem__(self, identity: Any) -> dict[str, Any]:
        key = str(identity)
        if key in self._deleted_ids:
            raise KeyError(identity)
        if key not in self._modified_documents:
            self._modified_documents[key] = _decode(self._documents[key])
        return self._modified_documents[key]

    def __setitem__(self, identity: Any, document: dict[str, Any]) -> None:
        self._modified_documents[str(identity)] = document
        self._deleted_ids.discard(str(identity))

    def __delitem__(self, identity: Any) -> None:
        key = str(identity)
        if key not in self:
            raise KeyError(identity)
        self._modified_documents.pop(key, None)
        self._deleted_ids.add(key)

    def __contains__(self, identity: object) -> bool:
        key = str(identity)
        return key not in self._deleted_ids and (key in self._modified_documents or key in self._documents)

    def __iter__(self) -> Iterator[Any]:
        for key in self._documents:
            if key not in self._deleted_ids:
                yield self._id_class(key)
        for key in self._modified_documents:
            if key not in self._documents:
                yield self._id_class(key)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        self._modified_documents.clear()
        self._deleted_ids = set(self._documents)

    def changes(self, table: str) -> WriteBatch:
        """Return the changes made in this overlay as a batch, without documents that are the same as before."""
        return WriteBatch(
            puts=tuple(
                (table, key, document)
                for key, document in self._modified_documents.items()
                if msgspec.json.encode(document) != self._documents.get(key)
            ),
            deletes=tuple((table, key) for key in self._deleted_ids if key in self._documents),
        )


class StoreCore(Protocol):
    """The part of a document store that :class:`JournalStorage` and :class:`JournalTable` need."""

    @property
    def tables(self) -> Mapping[str, Mapping[str, bytes]]: ...
    def snapshot_lock(self) -> AbstractContextManager[object]: ...
    def submit(self, batch: WriteBatch) -> Future[None]: ...


class JournalStorage(Storage):
    """TinyDB storage on a document store. :class:`JournalTable` bypasses :meth:`write` for changes in a table."""

    def __init__(self, core: StoreCore) -> None:
        self.core = core

    def read(self) -> dict[str, dict[str, Any]] | None:
        tables = {name: TableView(documents) for name, documents in self.core.tables.items() if documents}
        # A view can be read like a dict, and TinyDB does not modify the returned value.
        return cast("dict[str, dict[str, Any]]", tables) or None

    def write(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the content of the whole database with ``data``. TinyDB calls this method to drop tables."""
        with self.core.snapshot_lock():
            batches = [self._build_replacement(name, data.get(name, {})) for name in {*self.core.tables, *data}]
            future = self.core.submit(
                WriteBatch(
                    puts=tuple(put for batch in batches for put in batch.puts),
                    deletes=tuple(deletion for batch in batches for deletion in batch.deletes),
                )
            )
        future.result()

    def _build_replacement(self, table: str, documents: Mapping[str, Any]) -> WriteBatch:
        current_documents = self.core.tables.get(table, {})
        if isinstance(documents, TableView) and documents.encoded_documents is current_documents:
            return WriteBatch()
        overlay = _Overlay(current_documents, str)
        overlay.clear()
        overlay.update(documents)
        return overlay.changes(table)


class JournalTable(Table):
    """A TinyDB table that is stored in the journal. TinyDB assigns integers as the ids of its documents."""

    _storage: JournalStorage

    def __init__(self, storage: JournalStorage, name: str, cache_size: int = 0, persist_empty: bool = False) -> None:
        # TinyDB's query cache returns the same documents to every caller and does not notice batches that bypass this
        # table. The cache is therefore off by default.
        super().__init__(storage, name, cache_size, persist_empty)

    def update(self, fields: Fields, cond: QueryLike | None = None, doc_ids: Iterable[int] | None = None) -> list[int]:
        return super().update(fields, doc_ids=self._find_matching_ids(cond, doc_ids))

    def remove(self, cond: QueryLike | None = None, doc_ids: Iterable[int] | None = None) -> list[int]:
        return super().remove(doc_ids=self._find_matching_ids(cond, doc_ids))

    def _find_matching_ids(self, cond: QueryLike | None, doc_ids: Iterable[int] | None) -> Iterable[int] | None:
        """Return the ids of the documents that match a condition, so that only these documents are decoded."""
        if doc_ids is not None or cond is None:
            return doc_ids
        return [document.doc_id for document in self.search(cond)]

    def _read_table(self) -> Mapping[str, dict[str, Any]]:  # type: ignore[override]
        return TableView(self._storage.core.tables.get(self.name, {}))

    def _update_table(self, updater: Callable[[Any], None]) -> None:
        core = self._storage.core
        with core.snapshot_lock():
            overlay = _Overlay(core.tables.get(self.name, {}), self.document_id_class)
            updater(overlay)
            batch = overlay.changes(self.name)
            future = core.submit(batch) if batch != WriteBatch() else None
        self.clear_cache()
        if future is not None:
            future.result()


class StringIdTable(JournalTable):
    """A table whose documents have string ids: insert ``Document(content, doc_id="…")``."""

    document_id_class = str  # type: ignore[assignment]

    def _get_next_id(self) -> int:
        raise ValueError("Documents of this table require an explicit ID.")


class JournalDatabase(TinyDB):
    """TinyDB on a document store: ``JournalDatabase(core)``."""

    default_storage_class = JournalStorage  # type: ignore[assignment]
    table_class = JournalTable  # type: ignore[assignment]


class StringIdDatabase(JournalDatabase):
    """The database that the engine uses: all ids are strings."""

    table_class = StringIdTable
