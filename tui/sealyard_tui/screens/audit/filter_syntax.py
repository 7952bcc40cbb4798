"""Syntax of audit log filters, such as ``type:TASK author:owner since:2h withdrawn``.

Values and text with spaces must be enclosed in double quotes; a double quote inside them must be doubled. ``until``
is exclusive. Dates and times are in the display time zone; an age such as ``2h`` or ``1d12h`` is subtracted from the
current time.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sealyard.model.access import parse_subject
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.display_zone import display_zone
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

FIELDS = ("type", "resource", "author", "change", "since", "until")
TEXT = "text"
"""Key of the text to search for anywhere in an entry, which has no field name in the filter."""

_TOKEN = re.compile(r"""(?:(?P<field>[A-Za-z]+):)?(?:"(?P<quoted>(?:[^"]|"")*)"?(?=\s|$)|(?P<bare>\S*))""")
_AGE = re.compile(r"(?:\d+[wdhms])+")
_AGE_PART = re.compile(r"(\d+)([wdhms])")
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_MAX_QUOTE_LENGTH = 20
"""Maximum number of input characters quoted in an error message, which must fit beside the filter."""


def parse_filter(text: str, now: datetime) -> AuditFilter:
    """Parse a filter. ``now`` is the time from which ages are subtracted.

    Raises :class:`UsageError` if the filter is invalid; the message is short enough to be shown beside the filter.
    """
    parts = split_filter(text)
    return AuditFilter(
        resource_type=parts.get("type", "").upper(),
        resource=_parse_resource(parts.get("resource", "")),
        author=_parse_author(parts.get("author", "")),
        change=_parse_change(parts.get("change", "")),
        since=_parse_time(parts.get("since", ""), now),
        until=_parse_time(parts.get("until", ""), now),
        text=parts.get(TEXT, ""),
    )


def split_filter(text: str) -> dict[str, str]:
    """Return the unparsed values in a filter, keyed by field.

    Raises :class:`UsageError` if a field is unknown or repeated.
    """
    parts: dict[str, str] = {}
    terms: list[str] = []
    for field, value, token in _split_tokens(text):
        if field in FIELDS:
            if field in parts:
                raise UsageError(f"{field}: is given twice")
            parts[field] = value
        elif field and field.islower():
            raise UsageError(f'unknown field {_shorten(field)}:; as text: "{_shorten(token)}"')
        else:
            terms.append(token)
    if terms:
        parts[TEXT] = " ".join(terms)
    return {name: value for name, value in parts.items() if value}


def format_filter(parts: Mapping[str, str]) -> str:
    """Return the filter with the values in ``parts``, skipping empty ones; the inverse of :func:`split_filter`."""
    terms = [f"{name}:{_quote(parts[name])}" for name in FIELDS if parts.get(name)]
    if text := parts.get(TEXT, ""):
        terms.append(_quote_text(text))
    return " ".join(terms)


def _split_tokens(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the field, the value and the text of each token.

    The field is in lowercase if it is known. A token without a field has an empty field, and its text is its value.
    """
    for match in _TOKEN.finditer(text):
        if not match[0]:
            continue
        quoted = match["quoted"]
        value = quoted.replace('""', '"') if quoted is not None else match["bare"]
        field = match["field"] or ""
        field_name = field.lower() if field.lower() in FIELDS else field
        yield field_name, value, value if not field else match[0]


def _quote(value: str) -> str:
    plain = not value.startswith('"') and not any(char.isspace() for char in value)
    return value if plain else '"' + value.replace('"', '""') + '"'


def _quote_text(text: str) -> str:
    try:
        plain = split_filter(text) == {TEXT: text}
    except UsageError:
        plain = False
    return text if plain else '"' + text.replace('"', '""') + '"'


def _parse_resource(value: str) -> str:
    if value and not value.partition(":")[2]:
        raise UsageError("resource: expected TYPE:ID, such as TASK:ab12")
    return value


def _parse_author(value: str) -> str:
    if not value or value.startswith("SYSTEM:"):
        return value
    try:
        return parse_subject(value)
    except UsageError:
        raise UsageError(f"author: invalid subject {_shorten(value)}") from None


def _parse_change(value: str) -> AuditAction | None:
    if not value:
        return None
    name = value.upper()
    if name in AuditAction.__members__:
        return AuditAction[name]
    matches = difflib.get_close_matches(name, AuditAction, 1, 0.4)
    hint = f"{matches[0]}?" if matches else f"use {AuditAction.APPROVED}, …"
    raise UsageError(f"unknown change {_shorten(value)}: {hint}")


def _parse_time(value: str, now: datetime) -> datetime | None:
    if not value:
        return None
    try:
        if _AGE.fullmatch(value):
            return now - sum((_parse_age_part(count, unit) for count, unit in _AGE_PART.findall(value)), timedelta())
        return display_zone.parse(value)
    except (ValueError, OverflowError):
        raise UsageError(f"{_shorten(value)}: use 2h, 3d or 2026-11-01") from None


def _shorten(text: str) -> str:
    return escape_text(text, _MAX_QUOTE_LENGTH)


def _parse_age_part(count: str, unit: str) -> timedelta:
    return timedelta(**{_UNITS[unit]: int(count)})
