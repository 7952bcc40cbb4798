"""The marked rows of a table, in the order in which they were marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


class RowMarks:
    """The keys of the marked rows, and the row at which the next range starts."""

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}
        self._anchor: str | None = None

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def toggle(self, key: str) -> None:
        if key in self._keys:
            del self._keys[key]
        else:
            self._keys[key] = None
        self._anchor = key

    def mark(self, keys: Iterable[str]) -> None:
        self._keys.update(dict.fromkeys(keys))

    def mark_range(self, keys: Sequence[str], cursor: int) -> None:
        """Mark the rows from the one toggled last, or from the end of the previous range, to the cursor.

        ``keys``: the keys of all rows, in display order. ``cursor``: the index of the current row.
        """
        start = keys.index(self._anchor) if self._anchor in keys else cursor
        low, high = sorted((start, cursor))
        self.mark(keys[low : high + 1])
        self._anchor = keys[cursor]

    def retain(self, keys: Iterable[str]) -> None:
        """Unmark all rows whose keys are not in ``keys``."""
        remaining = set(keys)
        self._keys = {key: None for key in self._keys if key in remaining}

    def discard(self, key: str) -> None:
        self._keys.pop(key, None)

    def clear(self) -> None:
        self._keys = {}
        self._anchor = None
