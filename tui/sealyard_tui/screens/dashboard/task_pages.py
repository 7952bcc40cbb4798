"""Reading a long list of tasks: page by page, only what a query lets through, as light rows."""

from __future__ import annotations

import msgspec

from sealyard.client.protocol import Client
from sealyard_tui.screens.dashboard.task_filter import TaskQuery
from sealyard_tui.screens.dashboard.task_row import Order, TaskRow, row_of

PAGE = 200
"""Tasks in the first page, and about so many rows more each time the end comes near."""

LARGE_PAGE = 500
"""Making rows of more would hold up a key."""


class TaskPages:
    """One run through the list. ``order``: what the engine cannot order comes newest first."""

    def __init__(self, client: Client, query: TaskQuery, order: Order) -> None:
        filters, self._exact = query.narrowed()
        self._client = client
        self._query = query
        self._filters = msgspec.structs.replace(filters, oldest_first=order is Order.OLDEST)
        self._after: str | None = None
        self.complete = False
        self.looked_at = 0
        """Tasks that were read, matching or not."""
        self.total: int | None = None
        """How many match in all, where the engine can tell."""

    async def more(self) -> list[TaskRow]:
        """What matches of the next page; after the last one :attr:`complete` is set."""
        limit = LARGE_PAGE if self.looked_at else PAGE
        page = await self._client.tasks(self._filters, after=self._after, limit=limit)
        self._after = page.next
        self.complete = page.next is None
        self.looked_at += len(page.tasks)
        self.total = page.total if self._exact else None
        rows = [row_of(task) for task in page.tasks]
        return [row for row in rows if self._query.matches(row)]
