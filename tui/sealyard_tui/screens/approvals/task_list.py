"""The list of what waits: read page by page, and kept up to date a few reads a second at most."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Iterable
from datetime import datetime

from textual import on

from sealyard.client.protocol import Client
from sealyard.model.errors import NotFoundError
from sealyard.model.requests import TaskFilter
from sealyard.model.tasks import Task, TaskStatus
from sealyard_tui.formatting import task_title
from sealyard_tui.screens.approvals.row import TIMED_OUT, blocked_reason
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable

PAGE = 200
MAX_PAGE_SIZE = 1000
MAX_SINGLE_READS = 20
"""Changed tasks beyond which the list is read anew instead of each of them."""

RELOAD_INTERVAL = 0.3
"""Seconds between two reads of what changed, however many events come."""


class PendingTasksScreen(BaseScreen):
    """The part of the approvals place that reads; what is seen of it is the place's own."""

    def __init__(self) -> None:
        super().__init__()
        self.show_all = False
        """All that waits, not only what waits for this person."""
        self.decided_in_session: set[str] = set()
        """Tasks of which the outcome is told already."""
        self.next_cursor: str | None = None
        """Where the list goes on; None at the end."""
        self._reading_on = False
        self._changed: set[str] = set()
        self._reload_all = False
        self._reading_changed = False
        self._shown: TaskFilter | None = None
        """What the list was read for."""

    @property
    @abstractmethod
    def table(self) -> VirtualTable[Task]:
        """What it is made of."""

    @abstractmethod
    def update_title(self) -> None:
        """After each change of the list."""

    @abstractmethod
    async def load_review(self) -> None:
        """What is seen of the task under the cursor is read anew."""

    async def load(self) -> None:
        """As many as are there already, and at least a page; the cursor stays on its task."""
        client = await self.client()
        filters = self._filters()
        wanted = max(PAGE, len(self.table))
        tasks: list[Task] = []
        after: str | None = None
        while len(tasks) < wanted:
            page = await client.tasks(filters, after=after, limit=min(MAX_PAGE_SIZE, wanted - len(tasks)))
            tasks += page.tasks
            after = page.next
            if after is None:
                break
        found = {each.id for each in tasks}
        before = self.table.rows if filters == self._shown else []
        overdue = await self._reload_overdue(client, (each for each in before if each.id not in found))
        if filters != self._filters() or client is not await self.client():
            return
        self.next_cursor = after
        self._shown = filters
        self.table.replace(sorted([*tasks, *overdue], key=_age, reverse=True))
        self.update_title()
        await self.load_review()

    def _filters(self) -> TaskFilter:
        text = self.query_one(FilterBar).text
        if self.show_all:
            return TaskFilter(status=TaskStatus.WAITING, text=text)
        return TaskFilter(awaiting_my_approval=True, text=text)

    async def _reload_overdue(self, client: Client, gone: Iterable[Task]) -> list[Task]:
        """Of those that no longer wait for this person, the ones whose period is over: the engine cancels them."""
        over = [each for each in gone if blocked_reason(each, self.state, self.now()) == TIMED_OUT]
        read = [await _read(client, each.id) for each in over[:MAX_SINGLE_READS]]
        return [each for each in read if each is not None and self._matches(each)]

    def _matches(self, task: Task) -> bool:
        """Whether a task that was read alone stands in the list."""
        reason = blocked_reason(task, self.state, self.now())
        return (
            task.status is TaskStatus.WAITING
            and (self.show_all or reason in ("", TIMED_OUT))
            and TaskFilter(text=self.query_one(FilterBar).text).matches(task)
        )

    async def _read_on(self) -> None:
        try:
            client = await self.client()
            filters = self._filters()
            page = await client.tasks(filters, after=self.next_cursor, limit=MAX_PAGE_SIZE)
            if filters != self._filters() or client is not await self.client():
                return
            self.next_cursor = page.next
            self.table.extend(page.tasks)
            self.update_title()
        finally:
            self._reading_on = False

    @on(VirtualTable.NearEnd)
    def _near_end(self) -> None:
        if self.next_cursor is not None and not self._reading_on:
            self._reading_on = True
            self.run_background(self._read_on(), group="read-on")

    async def apply_update(self, news: EngineUpdate) -> None:
        """What waits no more goes at once; the others that changed are read, a few times a second at most."""
        self._reload_all = self._reload_all or news.missed_events or bool(news.resources)
        for task_id, change in news.tasks.items():
            if change.status is TaskStatus.WAITING:
                self._changed.add(task_id)
            else:
                self._changed.discard(task_id)
                self._remove_decided(task_id, change.status)
        if (self._changed or self._reload_all) and not self._reading_changed:
            await self._read_changed()

    def _remove_decided(self, task_id: str, status: TaskStatus) -> None:
        looked_at = self.table.cursor_row
        if looked_at is not None and looked_at.id == task_id and task_id not in self.decided_in_session:
            self.flash(f"{task_title(looked_at)} is {status} now", warning=True)
        self.drop(task_id)

    def drop(self, task_id: str) -> None:
        if task_id in self.table:
            self.table.remove_row(task_id)
            self.update_title()

    async def _read_changed(self) -> None:
        self._reading_changed = True
        try:
            while self._changed or self._reload_all:
                changed, self._changed = self._changed, set()
                anew, self._reload_all = self._reload_all, False
                if anew or len(changed) > MAX_SINGLE_READS:
                    await self.load()
                else:
                    for task_id in changed:
                        await self._read_one(task_id)
                await asyncio.sleep(RELOAD_INTERVAL)
        finally:
            self._reading_changed = False

    async def _read_one(self, task_id: str) -> None:
        client = await self.client()
        task = await _read(client, task_id)
        if client is not await self.client():
            return
        if task is None or not self._matches(task):
            self.drop(task_id)
            return
        self._put(task)
        if task_id == self.table.cursor_key:
            await self.load_review()

    def _put(self, task: Task) -> None:
        """In its place by age; what is older than all that was read so far comes with its page."""
        rows = self.table.rows
        if task.id in self.table:
            self.table.update_row(task)
        elif self.next_cursor is None or not rows or _age(task) > _age(rows[-1]):
            self.table.replace(sorted([*rows, task], key=_age, reverse=True))
            self.update_title()

    def reset(self) -> None:
        self.table.clear_marks()
        self.table.replace(())
        self.next_cursor = None
        self._shown = None
        self._changed.clear()


async def _read(client: Client, task_id: str) -> Task | None:
    try:
        return await client.task(task_id)
    except NotFoundError:
        return None


def _age(task: Task) -> tuple[datetime, str]:
    return (task.created_at, task.id)
