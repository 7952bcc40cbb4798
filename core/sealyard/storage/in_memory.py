"""The tables in memory, with documents as encoded JSON.

Readers get copies. Every change keeps the indexes up to date and returns its inverse, for rollbacks.
"""

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
        self._fields = indexes
        self._indexes: dict[str, TableIndex] = {}
        self._ids: dict[str, list[str]] = {}
        """Sorted ids by table."""

    def apply(self, changes: Iterable[Change]) -> list[Change]:
        """Apply the changes and return the inverse changes, which roll them back."""
        inverse: list[Change] = []
        for table, identity, document in changes:
            documents = self.tables.setdefault(table, {})
            previous = documents.get(identity)
            inverse.append((table, identity, previous))
            if document is None:
                documents.pop(identity, None)
            else:
                documents[identity] = document
            if table in self._indexes:
                self._indexes[table].change(identity, document)
            if table in self._ids and (previous is None) != (document is None):
                _toggle_id(self._ids[table], identity)
        inverse.reverse()
        return inverse

    def copy(self) -> InMemoryTables:
        """Return an independent copy without indexes. It costs one pointer for each document."""
        return InMemoryTables({}, {name: dict(documents) for name, documents in self.tables.items()})

    def index(self, table: str) -> TableIndex:
        """Return the index of the table; it is built on first use."""
        if table not in self._indexes:
            self._indexes[table] = TableIndex(self._fields.get(table, ()), self.tables.get(table, {}))
        return self._indexes[table]

    def ids(self, table: str, prefix: str) -> list[str]:
        """Return the ids that start with ``prefix``, sorted. All ids of the table are sorted on first use."""
        if table not in self._ids:
            self._ids[table] = sorted(self.tables.get(table, {}))
        ids = self._ids[table]
        first = end = bisect_left(ids, prefix)
        while end < len(ids) and ids[end].startswith(prefix):
            end += 1
        return ids[first:end]


def _toggle_id(ids: list[str], identity: str) -> None:
    """Insert ``identity`` into the sorted ``ids``, or remove it if it is in them."""
    position = bisect_left(ids, identity)
    if ids[position : position + 1] == [identity]:
        del ids[position]
    else:
        ids.insert(position, identity)
