"""TinyDB on the journal: its own query API, with commits that cost the change and not the table.

TinyDB rewrites the whole database at each change. ``Table._read_table`` and ``Table._update_table``, through
which it does everything, are replaced here: a change works on an overlay that knows which documents it
touched, and only those are committed. They are underscore names; a test holds them to what TinyDB 4.9 does.

Documents are kept encoded and decoded anew for each reader, so what is handed out is the reader's own.
A table that has lost its last document is not named by ``TinyDB.tables()`` any more.
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
    """A table as TinyDB reads it; each access gives a fresh document."""

    def __init__(self, documents: Mapping[str, bytes]) -> None:
        self.encoded = documents

    def __getitem__(self, identity: str) -> dict[str, Any]:
        return _decode(self.encoded[identity])

    def __iter__(self) -> Iterator[str]:
        return iter(self.encoded)

    def __len__(self) -> int:
        return len(self.encoded)


class _Overlay(MutableMapping[Any, dict[str, Any]]):
    """A table as TinyDB changes it: documents are decoded when touched, and compared at the end."""

    def __init__(self, documents: Mapping[str, bytes], id_class: type) -> None:
        self._documents = documents
        self._id_class = id_class
        self._touched: dict[str, dict[str, Any]] = {}
        self._removed: set[str] = set()

    def __getitem__(self, identity: Any) -> dict[str, Any]:
        name = str(identity)
        if name in self._removed:
            raise KeyError(identity)
        if name not in self._touched:
            self._touched[name] = _decode(self._documents[name])
        return self._touched[name]

    def __setitem__(self, identity: Any, document: dict[str, Any]) -> None:
        self._touched[str(identity)] = document
        self._removed.discard(str(identity))

    def __delitem__(self, identity: Any) -> None:
        name = str(identity)
        if name not in self:
            raise KeyError(identity)
        self._touched.pop(name, None)
        self._removed.add(name)

    def __contains__(self, identity: object) -> bool:
        name = str(identity)
        return name not in self._removed and (name in self._touched or name in self._documents)

    def __iter__(self) -> Iterator[Any]:
        for name in self._documents:
            if name not in self._removed:
                yield self._id_class(name)
        for name in self._touched:
            if name not in self._documents:
                yield self._id_class(name)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        self._touched.clear()
        self._removed = set(self._documents)

    def changes(self, table: str) -> WriteBatch:
        return WriteBatch(
            puts=tuple(
                (table, name, document)
                for name, document in self._touched.items()
                if msgspec.json.encode(document) != self._documents.get(name)
            ),
            deletes=tuple((table, name) for name in self._removed if name in self._documents),
        )


class StoreCore(Protocol):
    """What TinyDB stands on here."""

    @property
    def tables(self) -> Mapping[str, Mapping[str, bytes]]: ...
    def snapshot_lock(self) -> AbstractContextManager[object]: ...
    def submit(self, unit: WriteBatch) -> Future[None]: ...


class JournalStorage(Storage):
    """TinyDB's storage; changes of single documents go past :meth:`write`, see :class:`JournalTable`."""

    def __init__(self, core: StoreCore) -> None:
        self.core = core

    def read(self) -> dict[str, dict[str, Any]] | None:
        tables = {name: TableView(documents) for name, documents in self.core.tables.items() if documents}
        # TinyDB only reads from what it gets here, and a view reads like a dict.
        return cast("dict[str, dict[str, Any]]", tables) or None

    def write(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        """Makes the whole database ``data``: what TinyDB does to drop tables."""
        with self.core.snapshot_lock():
            units = [self._replacement(name, data.get(name, {})) for name in {*self.core.tables, *data}]
            future = self.core.submit(
                WriteBatch(
                    puts=tuple(put for unit in units for put in unit.puts),
                    deletes=tuple(remove for unit in units for remove in unit.deletes),
                )
            )
        future.result()

    def _replacement(self, table: str, documents: Mapping[str, Any]) -> WriteBatch:
        current = self.core.tables.get(table, {})
        if isinstance(documents, TableView) and documents.encoded is current:
            return WriteBatch()
        overlay = _Overlay(current, str)
        overlay.clear()
        overlay.update(documents)
        return overlay.changes(table)


class JournalTable(Table):
    """A table with TinyDB's integer ids."""

    _storage: JournalStorage

    def __init__(self, storage: JournalStorage, name: str, cache_size: int = 0, persist_empty: bool = False) -> None:
        # TinyDB's query cache hands the same documents to every caller and does not notice units of work
        # submitted past this table, so it is off unless asked for.
        super().__init__(storage, name, cache_size, persist_empty)

    def update(self, fields: Fields, cond: QueryLike | None = None, doc_ids: Iterable[int] | None = None) -> list[int]:
        return super().update(fields, doc_ids=self._ids(cond, doc_ids))

    def remove(self, cond: QueryLike | None = None, doc_ids: Iterable[int] | None = None) -> list[int]:
        return super().remove(doc_ids=self._ids(cond, doc_ids))

    def _ids(self, cond: QueryLike | None, doc_ids: Iterable[int] | None) -> Iterable[int] | None:
        """Ids for a condition, so that a change touches only the documents that meet it."""
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
            unit = overlay.changes(self.name)
            future = core.submit(unit) if unit != WriteBatch() else None
        self.clear_cache()
        if future is not None:
            future.result()


class StringIdTable(JournalTable):
    """A table whose documents have ids of their own: insert ``Document(content, doc_id="…")``."""

    document_id_class = str  # type: ignore[assignment]

    def _get_next_id(self) -> int:
        raise ValueError("A document of this table needs an id of its own.")


class JournalDatabase(TinyDB):
    """TinyDB over a store: ``JournalDatabase(core)``."""

    default_storage_class = JournalStorage  # type: ignore[assignment]
    table_class = JournalTable  # type: ignore[assignment]


class StringIdDatabase(JournalDatabase):
    """As the engine uses it: all ids are text."""

    table_class = StringIdTable
