"""Read all documents of a table that match filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sealyard.storage.documents import DocumentStore

SCAN_PAGE_SIZE = 500
"""Number of documents that are read at a time."""


def scan_documents(store: DocumentStore, table: str, filters: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the encoded documents that match ``filters``, newest first, reading page by page.

    Documents that are saved during the iteration may or may not be included.
    """
    cursor: str | None = None
    while True:
        page = store.page_json(table, filters=filters, cursor=cursor, limit=SCAN_PAGE_SIZE)
        yield from page.documents
        cursor = page.cursor(len(page.documents))
        if cursor is None:
            return
