"""Order in memory for lists: documents by time of creation, as a whole and for each filter asked for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from sys import intern
from typing import Any

import msgspec

from sealyard.model.errors import UsageError

Key = tuple[str, str]
"""Time of creation and id: what lists are ordered by."""


_Entry = tuple[Key, tuple[str | None, ...]]
"""A document's key, and its values of the indexed fields in their order; ``None``: it has no such text."""


class TableIndex:
    """A field is a name, or a name inside an object: ``result.state``.

    Keeps one sorted list of keys for each combination of values of each set of fields ever filtered by.

    So a page costs the page whatever the filters and however many documents match; a set of fields costs its
    sorting when it is first asked for, and little at each change from then on.
    """

    def __init__(self, fields: tuple[str, ...], documents: Mapping[str, bytes]) -> None:
        self._fields = fields
        self._paths = tuple(name.partition(".")[::2] for name in fields)
        # Only what lists need is decoded: most of a document is skipped.
        tops = dict.fromkeys(("createdAt", *(top for top, _ in self._paths)))
        listed = msgspec.defstruct("Listed", [(name, Any, None) for name in tops])
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(listed)
        self._entries = {identity: self._entry(identity, encoded) for identity, encoded in documents.items()}
        self._orders: dict[_Places, _Lists] = {}

    def change(self, identity: str, document: bytes | None) -> None:
        """Takes in the document's new content; ``None``: it was removed."""
        old = self._entries.pop(identity, None)
        new = None if document is None else self._entry(identity, document)
        if new is not None:
            self._entries[identity] = new
        if old == new:
            return
        for places, lists in self._orders.items():
            _move(lists, _index_keys(old, places), _index_keys(new, places))

    def page(
        self, filters: Mapping[str, str], newest_first: bool, after: str | None, limit: int
    ) -> tuple[list[Key], bool, int]:
        """Keys of one page, whether more follow, and how many documents match in all."""
        keys = self._matching(filters)
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
        """How many documents match; costs the same however many they are."""
        return len(self._matching(filters))

    def _matching(self, filters: Mapping[str, str]) -> list[Key]:
        unknown = ", ".join(sorted(set(filters) - set(self._fields)))
        if unknown:
            raise UsageError(f"Lists cannot be filtered by {unknown}.", f"Use: {', '.join(self._fields)}.")
        places = tuple(place for place, name in enumerate(self._fields) if name in filters)
        if places not in self._orders:
            self._orders[places] = self._order(places)
        return self._orders[places].get(tuple(filters[self._fields[place]] for place in places), [])

    def _order(self, places: _Places) -> _Lists:
        lists: _Lists = {}
        for entry in self._entries.values():
            if (filed := _index_keys(entry, places)) is not None:
                lists.setdefault(filed[0], []).append(filed[1])
        for keys in lists.values():
            keys.sort()
        return lists

    def _entry(self, identity: str, document: bytes) -> _Entry:
        listed = self._decoder.decode(document)
        created = listed.createdAt
        values = [_lookup(getattr(listed, top), below) for top, below in self._paths]
        # "…:07Z" would sort behind "…:07.5Z"; without the Z it is a beginning of it and sorts before.
        key = (created.removesuffix("Z") if isinstance(created, str) else "", identity)
        return key, tuple(intern(value) if isinstance(value, str) else None for value in values)


def _lookup(value: Any, below: str) -> Any:
    if not below:
        return value
    return value.get(below) if isinstance(value, dict) else None


_Places = tuple[int, ...]
"""Which of the indexed fields a set of filters names."""

_Values = tuple[str | None, ...]
_Lists = dict[_Values, list[Key]]


def _index_keys(entry: _Entry | None, places: _Places) -> tuple[_Values, Key] | None:
    """Under which values the entry stands among ``places``; ``None``: it does not have them all."""
    if entry is None:
        return None
    key, values = entry
    filed = tuple([values[place] for place in places])
    return None if None in filed else (filed, key)


def _move(lists: _Lists, old: tuple[_Values, Key] | None, new: tuple[_Values, Key] | None) -> None:
    if old == new:
        return
    if old is not None:
        keys = lists[old[0]]
        del keys[bisect_left(keys, old[1])]
    if new is not None:
        insort(lists.setdefault(new[0], []), new[1])


def encode_cursor(key: Key) -> str:
    """Continues a list behind the document of this key."""
    return " ".join(key)


def decode_cursor(cursor: str) -> Key:
    created, space, identity = cursor.partition(" ")
    if not space:
        raise UsageError("This is no cursor of a list.", "Begin again with the first page.")
    return created, identity
