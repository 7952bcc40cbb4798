"""The rows of a table, in display order and with unique keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Row = TypeVar("Row")


class RowStore(Generic[Row]):
    """An ordered collection of rows with unique keys. ``key_of`` returns the key of a row."""

    def __init__(self, key_of: Callable[[Row], str]) -> None:
        self.keys: list[str] = []
        self._rows: dict[str, Row] = {}
        self._key_of = key_of

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> Row:
        return self._rows[key]

    def get(self, key: str) -> Row | None:
        return self._rows.get(key)

    def index(self, key: str) -> int | None:
        return self.keys.index(key) if key in self._rows else None

    def key_at(self, index: int) -> str | None:
        return self.keys[index] if index < len(self.keys) else None

    def replace(self, rows: Iterable[Row]) -> None:
        self._rows = {self._key_of(row): row for row in rows}
        self.keys = list(self._rows)

    def extend(self, rows: Iterable[Row]) -> None:
        for row in rows:
            key = self._key_of(row)
            if key not in self._rows:
                self.keys.append(key)
            self._rows[key] = row

    def insert_first(self, rows: Iterable[Row]) -> None:
        rows_by_key = {self._key_of(row): row for row in rows}
        self.keys[:0] = [key for key in rows_by_key if key not in self._rows]
        self._rows.update(rows_by_key)

    def insert(self, index: int, row: Row) -> None:
        key = self._key_of(row)
        if key in self._rows:
            self.keys.remove(key)
        self.keys.insert(index, key)
        self._rows[key] = row

    def update(self, row: Row) -> bool:
        """Replace the row with the same key, and return whether there was one."""
        key = self._key_of(row)
        if key not in self._rows:
            return False
        self._rows[key] = row
        return True

    def remove(self, key: str) -> None:
        del self._rows[key]
        self.keys.remove(key)
