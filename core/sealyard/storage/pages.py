"""Pages of lists of documents."""

from __future__ import annotations

from typing import Any

from sealyard.model.base import FrozenStruct
from sealyard.storage.index import Key, encode_cursor


class Page(FrozenStruct, frozen=True, kw_only=True):
    """One page of a list.

    ``next`` is the cursor of the following page; None on the last page. ``total`` is the number of documents that match
    the filters, on all pages.
    """

    documents: tuple[tuple[str, dict[str, Any]], ...]
    next: str | None
    total: int


class RawPage(FrozenStruct, frozen=True, kw_only=True):
    """One page of a list with documents that are still encoded, for callers that decode only some of them.

    ``more`` is whether more pages follow.
    """

    keys: tuple[Key, ...]
    documents: tuple[bytes, ...]
    more: bool

    def cursor(self, count: int) -> str | None:
        """Return the cursor for continuing the list after the first ``count`` documents of this page.

        Returns None if ``count`` is 0 or no documents follow.
        """
        return encode_cursor(self.keys[count - 1]) if count and (self.more or count < len(self.keys)) else None
