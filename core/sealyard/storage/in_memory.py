"""The tables of a store in memory, with documents as encoded JSON, and their indexes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from sealyard.storage.batch import Change
from sealyard.storage.index import TableIndex


class InMemoryTables:
    """All tables of a store. Not thread-safe: a caller with several threads holds a lock around each call."""

    def __init__(
        self, indexes: Mapping[str, tuple[str, ...]], tables: dict[str, dict[str, bytes]] | None = None
    ) -> None:
        self.tables = tables or {}
        self._indexed_fields = indexes
        self._indexes: dict[str, TableIndex] = {}
        self._ids: dict[str, list[str]] = {}
        """By table: the sorted ids of its documents."""

    def apply(self, changes: Iterable[Change]) -> list[Change]:
        """Apply the changes to tables and indexes, and return the inverse changes, which roll them back."""
        inverse_changes: list[Change] = []
        for table, identity, document in changes:
            documents = self.tables.setdefault(table, {})
            previous_document = documents.get(identity)
            inverse_changes.append((table, identity, previous_document))
            if document is None:
                documents.pop(identity, None)
            else:
                documents[identity] = document
            if table in self._indexes:
                self._indexes[table].change(identity, document)
            if table in self._ids and (previous_document is None) != (document is None):
                _toggle_id(self._ids[table], identity)
        inverse_changes.reverse()
        return inverse_changes

    def copy(self) -> InMemoryTables:
        """Return an independent copy without indexes. The encoded documents themselves are shared, not copied."""
        return InMemoryTables({}, {name: dict(documents) for name, documents in self.tables.items()})

    def index(self, table: str) -> TableIndex:
        """Return the index of a table, which is built on first use."""
        if table not in self._indexes:
            self._indexes[table] = TableIndex(self._indexed_fields.get(table, ()), self.tables.get(table, {}))
        return self._indexes[table]

    def ids(self, table: str, prefix: str) -> list[str]:
        """Return the sorted ids that start with ``prefix``. The first call for a table sorts all of its ids."""
        if table not in self._ids:
            self._ids[table] = sorted(self.tables.get(table, {}))
        ids = self._ids[table]
        first = end = bisect_left(ids, prefix)
        while end < len(ids) and ids[end].startswith(prefix):
            end += 1
        return ids[first:end]


def _toggle_id(ids: list[str], identity: str) -> None:
    """Insert ``identity`` into the sorted list ``ids``, or remove it if the list contains it."""
    position = bisect_left(ids, identity)
    if ids[position : position + 1] == [identity]:
        del ids[position]
    else:
        ids.insert(position, identity)
