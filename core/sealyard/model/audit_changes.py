"""Changed fields in audit entries: each with its old and its new value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.safe_text import escape_text

MAX_SHOWN_LENGTH = 200
"""Maximum length of a value in :func:`format_change`, in characters."""


class AuditChange(FrozenStruct, frozen=True, kw_only=True):
    """A field that an action changed.

    ``path``: the name of the field, for example ``approvalTimeout`` or ``signingKeys[0].version``. ``old`` and ``new``:
    the values as plain JSON; None if the field did not exist before or no longer exists.
    """

    path: str
    old: Any
    new: Any


def find_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[AuditChange, ...]:
    """Return the fields that differ between two plain JSON objects, in the order of the fields of ``old``."""
    old_fields, new_fields = dict(_flatten(old)), dict(_flatten(new))
    return tuple(
        AuditChange(path=path, old=old_fields.get(path), new=new_fields.get(path))
        for path in dict.fromkeys((*old_fields, *new_fields))
        if old_fields.get(path) != new_fields.get(path)
    )


def format_change(change: AuditChange) -> str:
    """Format a change as safe text: ``approvalTimeout: 604800 → 86400``."""
    return f"{escape_text(change.path)}: {format_value(change.old)} → {format_value(change.new)}"


def format_value(value: Any) -> str:
    """Format a plain JSON value as safe text of at most :data:`MAX_SHOWN_LENGTH` characters."""
    if value is None:
        return "none"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return escape_text(text, MAX_SHOWN_LENGTH) or '""'


def _flatten(value: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each field. A list is one value unless it contains objects."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flatten(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flatten(item, f"{path}[{index}]")
    else:
        yield path, value
