"""The order of lists in memory: documents by creation time, for all documents and for each filter in use."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from sys import intern
from typing import Any

import msgspec

from sealyard.model.errors import UsageError

Key = tuple[str, str]
"""Creation time and id, by which lists are ordered."""


_Entry = tuple[Key, tuple[str | None, ...]]
"""A document's key, and its values of the indexed fields in their order; ``None`` if a field is not a string."""


class TableIndex:
    """Index of a table. A field is a name, or a name inside an object: ``result.state``.

    The index keeps one sorted list of keys for each combination of values of each set of fields used in a filter so
    far. The cost of a page therefore depends neither on the filters nor on the number of matching documents. A set of
    fields is sorted on first use and costs little on each later change.
    """

    def __init__(self, fields: tuple[str, ...], documents: Mapping[str, bytes]) -> None:
        self._fields = fields
        self._paths = tuple(name.partition(".")[::2] for name in fields)
        # Decode only the fields that lists need; the decoder skips most of a document.
        top_names = dict.fromkeys(("createdAt", *(top for top, _ in self._paths)))
        listed = msgspec.defstruct("Listed", [(name, Any, None) for name in top_names])
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(listed)
        self._entries = {identity: self._entry(identity, encoded) for identity, encoded in documents.items()}
        self._orders: dict[_FieldPositions, _KeyLists] = {}

    def change(self, identity: str, document: bytes | None) -> None:
        """Update the index with the new content of a document; ``None`` if it was deleted."""
        old = self._entries.pop(identity, None)
        new = None if document is None else self._entry(identity, document)
        if new is not None:
            self._entries[identity] = new
        if old == new:
            return
        for positions, lists in self._orders.items():
            _move_key(lists, _index_key(old, positions), _index_key(new, positions))

    def page(
        self, filters: Mapping[str, str], newest_first: bool, after: str | None, limit: int
    ) -> tuple[list[Key], bool, int]:
        """Return the keys of one page, whether more follow, and the total number of matching documents."""
        keys = self._matching_keys(filters)
        if newest_first:
            end = len(keys) if after is None else bisect_left(keys, decode_cursor(after))
            begin = max(0, end - limit)
            page = keys[begin:end][::-1]
            more = begin > 0
        else:
            begin = 0 if after is None else bisect_right(keys, decode_cursor(after))
            page = keys[begin : begin + limit]
            more = begin + limit < len(keys)
        return page, more, len(keys)

    def count(self, filters: Mapping[str, str]) -> int:
        """Return how many documents match; the cost does not depend on that number."""
        return len(self._matching_keys(filters))

    def _matching_keys(self, filters: Mapping[str, str]) -> list[Key]:
        unknown = ", ".join(sorted(set(filters) - set(self._fields)))
        if unknown:
            raise UsageError(f"Unknown filter {unknown}.", f"Use one of: {', '.join(self._fields)}.")
        positions = tuple(position for position, name in enumerate(self._fields) if name in filters)
        if positions not in self._orders:
            self._orders[positions] = self._build_lists(positions)
        return self._orders[positions].get(tuple(filters[self._fields[position]] for position in positions), [])

    def _build_lists(self, positions: _FieldPositions) -> _KeyLists:
        lists: _KeyLists = {}
        for entry in self._entries.values():
            if (index_key := _index_key(entry, positions)) is not None:
                lists.setdefault(index_key[0], []).append(index_key[1])
        for keys in lists.values():
            keys.sort()
        return lists

    def _entry(self, identity: str, document: bytes) -> _Entry:
        fields = self._decoder.decode(document)
        created_at = fields.createdAt
        values = [_lookup(getattr(fields, top), inner) for top, inner in self._paths]
        # "…:07Z" would sort after "…:07.5Z". Without the Z it is a prefix of "…:07.5" and sorts before it.
        key = (created_at.removesuffix("Z") if isinstance(created_at, str) else "", identity)
        return key, tuple(intern(value) if isinstance(value, str) else None for value in values)


def _lookup(value: Any, inner: str) -> Any:
    if not inner:
        return value
    return value.get(inner) if isinstance(value, dict) else None


_FieldPositions = tuple[int, ...]
"""Positions, among the indexed fields, of the fields that a set of filters names."""

_FieldValues = tuple[str | None, ...]
_KeyLists = dict[_FieldValues, list[Key]]


def _index_key(entry: _Entry | None, positions: _FieldPositions) -> tuple[_FieldValues, Key] | None:
    """Return the values at ``positions`` and the key of the entry; ``None`` if it lacks one of the values."""
    if entry is None:
        return None
    key, values = entry
    selected = tuple([values[position] for position in positions])
    return None if None in selected else (selected, key)


def _move_key(lists: _KeyLists, old: tuple[_FieldValues, Key] | None, new: tuple[_FieldValues, Key] | None) -> None:
    if old == new:
        return
    if old is not None:
        keys = lists[old[0]]
        del keys[bisect_left(keys, old[1])]
    if new is not None:
        insort(lists.setdefault(new[0], []), new[1])


def encode_cursor(key: Key) -> str:
    """Return the cursor that continues a list after the document with this key."""
    return " ".join(key)


def decode_cursor(cursor: str) -> Key:
    """Return the key that a cursor was made from. Raises :class:`UsageError` for an invalid cursor."""
    created_at, space, identity = cursor.partition(" ")
    if not space:
        raise UsageError("Invalid list cursor.", "Start again with the first page.")
    return created_at, identity
