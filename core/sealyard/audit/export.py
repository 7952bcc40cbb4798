"""Export the audit log for other programs: as JSON lines, exactly as stored, or as CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

from sealyard.audit.encoding import encode_entry
from sealyard.model.audit import AuditEntry
from sealyard.model.safe_text import escape_text

_HEADINGS = ("seq", "timestamp", "author", "change", "resource", "message", "newValue", "code", "previous", "changes")
_FORMULA_PREFIXES = ("=", "+", "-", "@", "＝", "＋", "－", "＠")


def export_jsonl(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """Yield one line of canonical JSON (RFC 8785) per entry, byte for byte as stored.

    The lines can contain control characters from requests, so do not print them to a terminal.
    """
    for entry in entries:
        yield encode_entry(entry).decode() + "\n"


def export_csv(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """Yield CSV lines (RFC 4180): a header line, then one line per entry, with every field quoted.

    Unprintable characters are escaped. Each field that a spreadsheet would evaluate as a formula is prefixed with an
    apostrophe.
    """
    yield _format_row(_HEADINGS)
    for entry in entries:
        yield _format_row(
            (
                str(entry.seq),
                entry.timestamp.isoformat(),
                entry.author,
                entry.change,
                entry.resource,
                entry.message,
                _encode_json(entry.new_value),
                entry.code,
                entry.previous,
                _encode_json(entry.changed_fields or None),
            )
        )


def _encode_json(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def _format_row(fields: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerow([_escape_formula(field) for field in fields])
    return buffer.getvalue()


def _escape_formula(field: str) -> str:
    escaped = escape_text(field)
    return f"'{escaped}" if escaped.lstrip().startswith(_FORMULA_PREFIXES) else escaped
