"""Test the paging of task lists."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from sealyard.client.protocol import TaskClient
from sealyard.client.task_pages import PAGE_SIZE, iterate_tasks
from sealyard.model.requests import TaskFilter, TaskPage
from tests.support.factories.tasks import package


class PagedTasks:
    """A client with ``count`` tasks, which records the size of the pages that are requested."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.sizes: list[int] = []

    async def tasks(self, filters: TaskFilter, *, after: str | None = None, limit: int = 100) -> TaskPage:
        self.sizes.append(limit)
        start = int(after or 0)
        end = min(start + limit, self.count)
        return TaskPage(tasks=(package(),) * (end - start), next=str(end) if end < self.count else None)


@pytest.mark.parametrize(
    ("count", "limit", "yielded", "sizes"),
    [
        (0, None, 0, [PAGE_SIZE]),
        (PAGE_SIZE, None, PAGE_SIZE, [PAGE_SIZE]),
        (PAGE_SIZE + 1, None, PAGE_SIZE + 1, [PAGE_SIZE] * 2),
        (5, 3, 3, [3]),
        (3, 5, 3, [5]),
        (2 * PAGE_SIZE, PAGE_SIZE + 1, PAGE_SIZE + 1, [PAGE_SIZE, 1]),
        (5, 0, 0, []),
    ],
)
def test_iterate_tasks_requests_no_more_than_needed(
    count: int, limit: int | None, yielded: int, sizes: list[int]
) -> None:
    client = PagedTasks(count)

    async def count_tasks() -> int:
        return len([task async for task in iterate_tasks(cast("TaskClient", client), TaskFilter(), limit=limit)])

    assert asyncio.run(count_tasks()) == yielded
    assert client.sizes == sizes
