"""The log as text for other programs: JSON lines as they are stored, or a table for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

from sealyard.audit.encoding import encode_entry
from sealyard.model.audit import AuditEntry
from sealyard.model.safe_text import escape_text

_HEADINGS = ("seq", "timestamp", "author", "change", "resource", "message", "newValue", "code", "previous")
_FORMULA_STARTS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def export_jsonl(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """One RFC 8785 line an entry, byte for byte as stored: foreign text is exact, so print it to no terminal."""
    for entry in entries:
        yield encode_entry(entry).decode() + "\n"


def export_csv(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """RFC 4180 lines under a heading, every field quoted.

    What does not print is escaped, and a field that a spreadsheet would take for a formula begins with an
    apostrophe.
    """
    yield _row(_HEADINGS)
    for entry in entries:
        value = "" if entry.new_value is None else msgspec.json.encode(entry.new_value).decode()
        yield _row(
            (
                str(entry.seq),
                entry.timestamp.isoformat(),
                entry.author,
                entry.change,
                entry.resource,
                entry.message,
                value,
                entry.code,
                entry.previous,
            )
        )


def _row(fields: Iterable[str]) -> str:
    sink = io.StringIO()
    csv.writer(sink, quoting=csv.QUOTE_ALL).writerow([_neutralize(field) for field in fields])
    return sink.getvalue()


def _neutralize(field: str) -> str:
    shown = escape_text(field)
    return f"'{shown}" if shown.lstrip().startswith(_FORMULA_STARTS) else shown
