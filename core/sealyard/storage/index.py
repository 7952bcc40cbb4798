"""In-memory index of a table: lists of its documents ordered by creation time, for each combination of filters."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from sys import intern
from typing import Any

import msgspec

from sealyard.model.errors import UsageError

Key = tuple[str, str]
"""Creation time and id of a document, by which lists are ordered."""


_Entry = tuple[Key, tuple[str | None, ...]]
"""A document's key, and its value of each indexed field; ``None`` if the value is missing or not a string."""


class TableIndex:
    """Index of a table by some of its fields. The name of a field inside an object has a dot: ``result.state``.

    For each set of fields that has been used as a filter, the index keeps sorted lists of keys: one for each
    combination of values. Therefore the cost of a page depends neither on the filters nor on the number of matching
    documents. The lists for a set of fields are built on first use, and updated at little cost with each change.
    """

    def __init__(self, fields: tuple[str, ...], documents: Mapping[str, bytes]) -> None:
        self._fields = fields
        self._paths = tuple(name.partition(".")[::2] for name in fields)
        # Decode only the fields that the index needs; the decoder skips the rest of each document.
        top_names = dict.fromkeys(("createdAt", *(top for top, _ in self._paths)))
        indexed_type = msgspec.defstruct("Listed", [(name, Any, None) for name in top_names])
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(indexed_type)
        self._shared_values: dict[_FieldValues, _FieldValues] = {}
        """One tuple for each combination of values: most documents share theirs with many others."""
        self._entries = {identity: self._build_entry(identity, document) for identity, document in documents.items()}
        self._key_lists: dict[_FieldPositions, _KeyLists] = {}

    def change(self, identity: str, document: bytes | None) -> None:
        """Update the index with the new content of a document; ``None`` if it was deleted."""
        old_entry = self._entries.pop(identity, None)
        new_entry = None if document is None else self._build_entry(identity, document)
        if new_entry is not None:
            self._entries[identity] = new_entry
        if old_entry == new_entry:
            return
        for positions, lists in self._key_lists.items():
            _move_key(lists, _build_index_key(old_entry, positions), _build_index_key(new_entry, positions))

    def page(
        self, filters: Mapping[str, str], newest_first: bool, cursor: str | None, limit: int
    ) -> tuple[list[Key], bool, int]:
        """Return the keys of one page, whether more pages follow, and the total number of matching documents."""
        keys = self._find_matching_keys(filters)
        if newest_first:
            end = len(keys) if cursor is None else bisect_left(keys, decode_cursor(cursor))
            begin = max(0, end - limit)
            page = keys[begin:end][::-1]
            has_more = begin > 0
        else:
            begin = 0 if cursor is None else bisect_right(keys, decode_cursor(cursor))
            page = keys[begin : begin + limit]
            has_more = begin + limit < len(keys)
        return page, has_more, len(keys)

    def count(self, filters: Mapping[str, str]) -> int:
        """Return the number of documents that match ``filters``. The cost does not depend on that number."""
        return len(self._find_matching_keys(filters))

    def _find_matching_keys(self, filters: Mapping[str, str]) -> list[Key]:
        unknown_fields = ", ".join(sorted(set(filters) - set(self._fields)))
        if unknown_fields:
            raise UsageError(f"Unknown filter {unknown_fields}.", f"Use one of: {', '.join(self._fields)}.")
        positions = tuple(position for position, name in enumerate(self._fields) if name in filters)
        if positions not in self._key_lists:
            self._key_lists[positions] = self._build_lists(positions)
        return self._key_lists[positions].get(tuple(filters[self._fields[position]] for position in positions), [])

    def _build_lists(self, positions: _FieldPositions) -> _KeyLists:
        lists: _KeyLists = {}
        for entry in self._entries.values():
            if (index_key := _build_index_key(entry, positions)) is not None:
                lists.setdefault(index_key[0], []).append(index_key[1])
        for keys in lists.values():
            keys.sort()
        return lists

    def _build_entry(self, identity: str, document: bytes) -> _Entry:
        fields = self._decoder.decode(document)
        created_at = fields.createdAt
        found_values = [_lookup(getattr(fields, top), inner) for top, inner in self._paths]
        values = tuple([intern(value) if isinstance(value, str) else None for value in found_values])
        # Remove the Z, because "…:07Z" would sort after "…:07.5Z", but "…:07" sorts before "…:07.5".
        key = (created_at.removesuffix("Z") if isinstance(created_at, str) else "", identity)
        return key, self._shared_values.setdefault(values, values)


def _lookup(value: Any, inner: str) -> Any:
    if not inner:
        return value
    return value.get(inner) if isinstance(value, dict) else None


_FieldPositions = tuple[int, ...]
"""The fields used in a set of filters, as positions in the tuple of indexed fields."""

_FieldValues = tuple[str | None, ...]
_KeyLists = dict[_FieldValues, list[Key]]


def _build_index_key(entry: _Entry | None, positions: _FieldPositions) -> tuple[_FieldValues, Key] | None:
    """Return the values at ``positions`` and the key of an entry; ``None`` if the entry lacks one of the values."""
    if entry is None:
        return None
    key, values = entry
    selected_values = tuple([values[position] for position in positions])
    return None if None in selected_values else (selected_values, key)


def _move_key(
    keys_by_value: _KeyLists, old: tuple[_FieldValues, Key] | None, new: tuple[_FieldValues, Key] | None
) -> None:
    if old == new:
        return
    if old is not None:
        keys = keys_by_value[old[0]]
        del keys[bisect_left(keys, old[1])]
    if new is not None:
        insort(keys_by_value.setdefault(new[0], []), new[1])


def encode_cursor(key: Key) -> str:
    """Return the cursor for continuing a list after the document with this key."""
    return " ".join(key)


def decode_cursor(cursor: str) -> Key:
    """Return the key that :func:`encode_cursor` encoded. Raises :class:`UsageError` if the cursor is invalid."""
    created_at, separator, identity = cursor.partition(" ")
    if not separator:
        raise UsageError("Invalid list cursor.", "Start again with the first page.")
    return created_at, identity
