"""Find texts with the character U+0000, which PostgreSQL does not support, and replace it in names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from sealyard.storage.content import WorkspaceContent, iter_documents
from sealyard.storage.postgres.journal import contains_nul

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_NAME_MEMBERS = frozenset({"name", "displayName"})


def find_unsupported_texts(content: WorkspaceContent) -> Iterator[str]:
    """Describe each document, event and audit entry that has a text with U+0000."""
    for table, identity, document in iter_documents(content.tables):
        if "\0" in identity or contains_nul(document):
            yield f"document {identity} of {table}"
    for number, event in enumerate(content.events):
        if contains_nul(event):
            yield f"event {number} of {len(content.events)}"
    for line in content.audit.lines():
        if contains_nul(line.data):
            yield f"audit entry ({line})"


def repair_names(content: WorkspaceContent, protected_tables: frozenset[str]) -> tuple[WorkspaceContent, int]:
    """Return the content with U+0000 replaced in names, and the number of documents and events that were changed.

    Documents of ``protected_tables`` are not changed, because a digest or a signature covers them. Nor is the audit
    log.
    """
    tables = {table: dict(documents) for table, documents in content.tables.items()}
    repaired_count = 0
    for table in tables.keys() - protected_tables:
        for identity, document in tables[table].items():
            if contains_nul(document):
                tables[table][identity] = _repair(document)
                repaired_count += 1
    events = [_repair(event) if contains_nul(event) else event for event in content.events]
    repaired_count += sum(contains_nul(event) for event in content.events)
    return content._replace(tables=tables, events=events), repaired_count


def _repair(document: bytes) -> bytes:
    return msgspec.json.encode(_replace_in_names(msgspec.json.decode(document)))


def _replace_in_names(value: Any) -> Any:
    if isinstance(value, list):
        return [_replace_in_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: item.replace("\0", _REPLACEMENT)
        if name in _NAME_MEMBERS and isinstance(item, str)
        else _replace_in_names(item)
        for name, item in value.items()
    }
