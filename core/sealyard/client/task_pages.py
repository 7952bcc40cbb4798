"""Read task lists page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sealyard.client.protocol import TaskClient
from sealyard.model.requests import TaskFilter
from sealyard.model.tasks import Task

PAGE_SIZE = 500
"""Maximum number of tasks per request."""


async def iterate_tasks(client: TaskClient, filters: TaskFilter, *, limit: int | None = None) -> AsyncIterator[Task]:
    """Yield the tasks that match ``filters``, at most ``limit`` of them, loading pages as needed."""
    remaining = limit
    cursor: str | None = None
    while remaining is None or remaining > 0:
        page_limit = PAGE_SIZE if remaining is None else min(PAGE_SIZE, remaining)
        page = await client.tasks(filters, after=cursor, limit=page_limit)
        for task in page.tasks:
            yield task
        cursor = page.next
        if cursor is None:
            return
        if remaining is not None:
            remaining -= len(page.tasks)
