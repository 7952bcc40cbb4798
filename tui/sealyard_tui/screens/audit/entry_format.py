"""Formatting of audit entries as rows, text and JSON, and computation of their hashes."""

from __future__ import annotations

import hashlib
import json
from datetime import tzinfo

import msgspec
from textual.content import Content

from sealyard.model.audit import AuditAction, AuditEntry
from sealyard.model.audit_changes import format_change
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import SealyardError
from sealyard.model.formatting import format_time
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import SubjectNames, format_subject_name, insert_subject_names
from sealyard_tui.formatting import add_zone, format_fields
from sealyard_tui.widgets.columns import Cell, Column

NOT_CHECKPOINTED = "◌"
"""Mark for entries that are not yet covered by a signed checkpoint."""

WIDE_FROM = 100

_CHANGE_STYLES: dict[AuditAction, tuple[str, str]] = {
    AuditAction.CREATED: ("+", "$accent"),
    AuditAction.UPDATED: ("~", "$accent"),
    AuditAction.DELETED: ("-", "$warning"),
    AuditAction.APPROVED: ("✓", "$success"),
    AuditAction.REJECTED: ("✗", "$warning"),
    AuditAction.WITHDRAWN: ("–", "$text-muted"),
    AuditAction.CANCELLED: ("–", "$text-muted"),
    AuditAction.STATUS_CHANGED: ("▸", "$text-muted"),
    AuditAction.KEY_USED: ("◆", "$accent"),
    AuditAction.DOWNLOADED: ("↓", "$success"),
    AuditAction.EXPORTED: ("↑", "$warning"),
    AuditAction.RENEWED: ("↻", "$accent"),
    AuditAction.EXPIRED: ("!", "$warning"),
    AuditAction.REMOVED: ("∅", "$text-muted"),
    AuditAction.REFUSED: ("⊘", "$error"),
    AuditAction.FAILED: ("✗", "$error"),
    AuditAction.CORRUPTED: ("‼", "$error"),
}


def create_columns(zone: tzinfo | None) -> tuple[Column, ...]:
    """Return the table columns. ``zone``: the time zone in which times are shown, named in the column title."""
    time_title = add_zone("TIME", zone)
    return (
        Column(key="seq", title="SEQ", width=9, min_width=7, right=True, give_way=2),
        Column(key="time", title=time_title, width=14, give_way=3, below_width=WIDE_FROM),
        Column(key="time", title=time_title, width=19, give_way=3, from_width=WIDE_FROM),
        Column(key="author", title="AUTHOR", width=15, min_width=9, max_width=24, grow=1, give_way=1),
        Column(key="change", title="CHANGE", width=16, min_width=12, give_way=5),
        Column(key="resource", title="RESOURCE", width=18, min_width=12, give_way=4, from_width=WIDE_FROM),
        Column(key="message", title="MESSAGE", width=40, min_width=18, grow=5),
    )


def row_key(entry: AuditEntry) -> str:
    return str(entry.seq)


def change_badge(change: AuditAction) -> Content:
    sign, style = _CHANGE_STYLES[change]
    return Content.styled(f"{sign} {change}", style)


def render_cells(
    entry: AuditEntry, checkpointed_size: int, zone: tzinfo | None, names: SubjectNames
) -> tuple[Cell, ...]:
    """Return the cells of an entry, one for each of the columns from :func:`create_columns`.

    ``checkpointed_size``: the number of entries covered by a signed checkpoint. ``zone``: the time zone in which times
    are shown, the same for all entries. ``names``: display names of subjects, shown instead of their ids.
    """
    number = (
        str(entry.seq)
        if entry.seq < checkpointed_size
        else Content.assemble(Content.styled(NOT_CHECKPOINTED, "$warning"), f" {entry.seq}")
    )
    time = f"{entry.timestamp.astimezone(zone):%Y-%m-%d %H:%M:%S}"
    author = escape_text(format_subject_name(entry.author, names))
    message = escape_text(insert_subject_names(entry.message, names))
    return number, time[5:], time, author, change_badge(entry.change), escape_text(entry.resource), message


def entry_json(entry: AuditEntry) -> str:
    """Return an entry as indented JSON. Nonprintable characters are escaped as in JSON strings."""
    text = json.dumps(msgspec.to_builtins(entry), indent=2, ensure_ascii=False)
    return "".join(char if char.isprintable() or char == "\n" else _escape_char(char) for char in text)


def _escape_char(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[index : index + 2].hex()}" for index in range(0, len(units), 2))


def entry_hash(entry: AuditEntry) -> str:
    """Return the RFC 6962 leaf hash of an entry in hexadecimal; empty if it cannot be computed.

    The next entry in the log stores this hash as ``previous``.
    """
    try:
        return hashlib.sha256(b"\0" + canonical_json(entry)).hexdigest()
    except SealyardError:
        # The entry cannot have been stored in this form; verification will report it.
        return ""


def render_entry(entry: AuditEntry, checkpointed_size: int) -> Content:
    checkpoint_text = (
        "covered by a signed checkpoint"
        if entry.seq < checkpointed_size
        else f"{NOT_CHECKPOINTED} not covered by a signed checkpoint yet"
    )
    fields = format_fields(
        [
            (
                "entry",
                Content.assemble(f"{entry.seq}  ", change_badge(entry.change), f"  {format_time(entry.timestamp)}"),
            ),
            ("checkpoint", checkpoint_text),
            ("hash", entry_hash(entry)),
        ]
    )
    return Content.assemble(fields, _render_changes(entry), "\n\n", entry_json(entry))


def _render_changes(entry: AuditEntry) -> Content:
    """Return a line for each changed field, with the old and the new value; empty if there are none."""
    lines = [Content(f"  {format_change(change)}") for change in entry.changed_fields]
    if not lines:
        return Content("")
    return Content("\n").join([Content(""), Content.styled("changes", "$text-muted"), *lines])
