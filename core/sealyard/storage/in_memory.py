"""The documents in memory, as encoded JSON: readers get copies, an undo is the inverse change, and a change
keeps the lists' order."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping

from sealyard.storage.batch import Change
from sealyard.storage.index import TableIndex


class InMemoryTables:
    """All tables. Whoever uses it from several threads holds a lock around each call."""

    def __init__(
        self, indexes: Mapping[str, tuple[str, ...]], tables: dict[str, dict[str, bytes]] | None = None
    ) -> None:
        self.tables = tables or {}
        self._fields = indexes
        self._indexes: dict[str, TableIndex] = {}
        self._ids: dict[str, list[str]] = {}
        """Sorted."""

    def apply(self, changes: Iterable[Change]) -> list[Change]:
        """Makes the changes; what is returned, applied, takes them back."""
        inverse: list[Change] = []
        for table, identity, document in changes:
            documents = self.tables.setdefault(table, {})
            earlier = documents.get(identity)
            inverse.append((table, identity, earlier))
            if document is None:
                documents.pop(identity, None)
            else:
                documents[identity] = document
            if table in self._indexes:
                self._indexes[table].change(identity, document)
            if table in self._ids and (earlier is None) != (document is None):
                _key_changes(self._ids[table], identity)
        inverse.reverse()
        return inverse

    def copy(self) -> InMemoryTables:
        """An independent one without indexes; costs a pointer for each document."""
        return InMemoryTables({}, {name: dict(documents) for name, documents in self.tables.items()})

    def index(self, table: str) -> TableIndex:
        """The table's order; made when it is first asked for."""
        if table not in self._indexes:
            self._indexes[table] = TableIndex(self._fields.get(table, ()), self.tables.get(table, {}))
        return self._indexes[table]

    def ids(self, table: str, prefix: str) -> list[str]:
        """Those that begin so; they are sorted when they are first asked for."""
        if table not in self._ids:
            self._ids[table] = sorted(self.tables.get(table, {}))
        ids = self._ids[table]
        first = end = bisect_left(ids, prefix)
        while end < len(ids) and ids[end].startswith(prefix):
            end += 1
        return ids[first:end]


def _key_changes(ids: list[str], identity: str) -> None:
    place = bisect_left(ids, identity)
    if ids[place : place + 1] == [identity]:
        del ids[place]
    else:
        ids.insert(place, identity)
