"""The filter of the audit log as one line, ``type:TASK author:owner since:2h withdrawn``: parsing and formatting.

A value or text with spaces is put in double quotes; a double quote inside is doubled. ``until`` itself is excluded.
Dates and times are local; an age such as ``2h`` or ``1d12h`` counts back from now.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sealyard.model.access import parse_subject
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

FIELDS = ("type", "resource", "author", "change", "since", "until")
TEXT = "text"
"""Name of the field for text that may be anywhere in an entry."""

_TOKEN = re.compile(r"""(?:(?P<field>[A-Za-z]+):)?(?:"(?P<quoted>(?:[^"]|"")*)"?(?=\s|$)|(?P<bare>\S*))""")
_AGE = re.compile(r"(?:\d+[wdhms])+")
_AGE_PART = re.compile(r"(\d+)([wdhms])")
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_SHOWN = 20
"""Characters of the input that an error repeats: it is shown beside the line."""


def parse_filter(line: str, now: datetime) -> AuditFilter:
    """Parse a filter; ages count back from ``now``. Raises :class:`UsageError`, short enough to be shown beside the
    line.
    """
    parts = split_filter(line)
    return AuditFilter(
        resource_type=parts.get("type", "").upper(),
        resource=_resource(parts.get("resource", "")),
        author=_author(parts.get("author", "")),
        change=_change(parts.get("change", "")),
        since=_moment(parts.get("since", ""), now),
        until=_moment(parts.get("until", ""), now),
        text=parts.get(TEXT, ""),
    )


def split_filter(line: str) -> dict[str, str]:
    """Return the fields as written, and :data:`TEXT`. Raises :class:`UsageError` for an unknown field."""
    parts: dict[str, str] = {}
    words: list[str] = []
    for field, value, text in _tokens(line):
        if field in FIELDS:
            if field in parts:
                raise UsageError(f"{field}: is given twice")
            parts[field] = value
        elif field and field.islower():
            raise UsageError(f'unknown field {escape_text(field, _SHOWN)}:; as text: "{escape_text(text, _SHOWN)}"')
        else:
            words.append(text)
    if words:
        parts[TEXT] = " ".join(words)
    return {name: value for name, value in parts.items() if value}


def format_filter(parts: Mapping[str, str]) -> str:
    """Return the line that :func:`split_filter` splits into ``parts``; empty values are skipped."""
    words = [f"{name}:{_quoted(parts[name])}" for name in FIELDS if parts.get(name)]
    if text := parts.get(TEXT, ""):
        words.append(_quoted_text(text))
    return " ".join(words)


def _tokens(line: str) -> Iterator[tuple[str, str, str]]:
    """Yield field (lower case if known, else as written), value, and the whole token."""
    for match in _TOKEN.finditer(line):
        if not match[0]:
            continue
        quoted = match["quoted"]
        value = quoted.replace('""', '"') if quoted is not None else match["bare"]
        field = match["field"] or ""
        known = field.lower() if field.lower() in FIELDS else field
        yield known, value, value if not field else match[0]


def _quoted(value: str) -> str:
    plain = not value.startswith('"') and not any(char.isspace() for char in value)
    return value if plain else '"' + value.replace('"', '""') + '"'


def _quoted_text(text: str) -> str:
    try:
        plain = split_filter(text) == {TEXT: text}
    except UsageError:
        plain = False
    return text if plain else '"' + text.replace('"', '""') + '"'


def _resource(value: str) -> str:
    if value and not value.partition(":")[2]:
        raise UsageError("resource: expected TYPE:ID, such as TASK:ab12")
    return value


def _author(value: str) -> str:
    if not value or value.startswith("SYSTEM:"):
        return value
    try:
        return parse_subject(value)
    except UsageError:
        raise UsageError(f"author: invalid subject {escape_text(value, _SHOWN)}") from None


def _change(value: str) -> AuditAction | None:
    if not value:
        return None
    word = value.upper()
    if word in AuditAction.__members__:
        return AuditAction[word]
    near = difflib.get_close_matches(word, AuditAction, 1, 0.4)
    hint = f"{near[0]}?" if near else f"use {AuditAction.APPROVED}, …"
    raise UsageError(f"unknown change {escape_text(value, _SHOWN)}: {hint}")


def _moment(value: str, now: datetime) -> datetime | None:
    if not value:
        return None
    try:
        if _AGE.fullmatch(value):
            return now - sum((_part(count, unit) for count, unit in _AGE_PART.findall(value)), timedelta())
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError):
        raise UsageError(f"{escape_text(value, _SHOWN)}: use 2h, 3d or 2026-11-01") from None


def _part(count: str, unit: str) -> timedelta:
    return timedelta(**{_UNITS[unit]: int(count)})
