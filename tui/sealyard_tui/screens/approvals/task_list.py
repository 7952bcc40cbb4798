"""The tasks that wait for approval: loaded page by page, and kept up to date with few reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

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
MAX_PAGE = 1000
MAX_SINGLE_READS = 20
"""Changed tasks up to which each is read by its id; beyond, the whole list is reloaded."""

RELOAD_INTERVAL = 0.3
"""Seconds between two reads of what changed, however many events arrive."""


class PendingTaskList:
    """Keeps the table of a screen in step with the engine.

    ``on_change`` is called after each change of the rows, ``load_review`` reads the task under the cursor again.
    """

    def __init__(
        self, screen: BaseScreen, *, on_change: Callable[[], None], load_review: Callable[[], Awaitable[None]]
    ) -> None:
        self.show_all = False
        """Show all tasks that wait, not only those that this user can approve."""
        self.decided_in_session: set[str] = set()
        """Tasks decided here, whose outcome was reported already."""
        self.next_cursor: str | None = None
        """Where the next page starts; None at the end."""
        self._screen = screen
        self._on_change = on_change
        self._load_review = load_review
        self._loading_more = False
        self._changed: set[str] = set()
        self._reload_all = False
        self._loading_changes = False
        self._loaded_filter: TaskFilter | None = None

    @property
    def table(self) -> VirtualTable[Task]:
        return self._screen.query_one("#queue", VirtualTable)

    @property
    def _filter_text(self) -> str:
        return self._screen.query_one(FilterBar).text

    def _filter(self) -> TaskFilter:
        if self.show_all:
            return TaskFilter(status=TaskStatus.WAITING, text=self._filter_text)
        return TaskFilter(awaiting_my_approval=True, text=self._filter_text)

    def reset(self) -> None:
        self.table.clear_marks()
        self.table.replace(())
        self.next_cursor = None
        self._loaded_filter = None
        self._changed.clear()

    # ---- pages

    async def load(self) -> None:
        """Load as many tasks as are shown already, at least a page; the cursor stays on its task."""
        client = await self._screen.client()
        task_filter = self._filter()
        wanted = max(PAGE, len(self.table))
        tasks: list[Task] = []
        after: str | None = None
        while len(tasks) < wanted:
            page = await client.tasks(task_filter, after=after, limit=min(MAX_PAGE, wanted - len(tasks)))
            tasks += page.tasks
            after = page.next
            if after is None:
                break
        loaded_ids = {task.id for task in tasks}
        before = self.table.rows if task_filter == self._loaded_filter else []
        overdue = await self._reload_overdue(client, (task for task in before if task.id not in loaded_ids))
        if await self._is_outdated(client, task_filter):
            return
        self.next_cursor = after
        self._loaded_filter = task_filter
        self.table.replace(sorted([*tasks, *overdue], key=_age, reverse=True))
        self._on_change()
        await self._load_review()

    async def _is_outdated(self, client: Client, task_filter: TaskFilter) -> bool:
        """Return whether filter or identity changed since a read was started."""
        return task_filter != self._filter() or client is not await self._screen.client()

    async def _reload_overdue(self, client: Client, missing: Iterable[Task]) -> list[Task]:
        """Return the missing tasks whose approval period has expired: they are shown until the engine cancels them."""
        state, now = self._screen.state, self._screen.now()
        overdue = [task for task in missing if blocked_reason(task, state, now) == TIMED_OUT]
        read = [await _read(client, task.id) for task in overdue[:MAX_SINGLE_READS]]
        return [task for task in read if task is not None and self._matches(task)]

    def _matches(self, task: Task) -> bool:
        """Return whether a task that was read by its id belongs into the list."""
        reason = blocked_reason(task, self._screen.state, self._screen.now())
        return (
            task.status is TaskStatus.WAITING
            and (self.show_all or reason in ("", TIMED_OUT))
            and TaskFilter(text=self._filter_text).matches(task)
        )

    def load_more(self) -> None:
        """Load the next page in the background."""
        if self.next_cursor is not None and not self._loading_more:
            self._loading_more = True
            self._screen.run_background(self._load_next_page(), group="read-on")

    async def _load_next_page(self) -> None:
        try:
            client = await self._screen.client()
            task_filter = self._filter()
            page = await client.tasks(task_filter, after=self.next_cursor, limit=MAX_PAGE)
            if await self._is_outdated(client, task_filter):
                return
            self.next_cursor = page.next
            self.table.extend(page.tasks)
            self._on_change()
        finally:
            self._loading_more = False

    # ---- updates

    async def apply_update(self, update: EngineUpdate) -> None:
        """Remove tasks that no longer wait at once; read the other changed ones, limited in rate."""
        self._reload_all = self._reload_all or update.missed_events or bool(update.resources)
        for task_id, change in update.tasks.items():
            if change.status is TaskStatus.WAITING:
                self._changed.add(task_id)
            else:
                self._changed.discard(task_id)
                self._remove_decided(task_id, change.status)
        if (self._changed or self._reload_all) and not self._loading_changes:
            await self._load_changes()

    def _remove_decided(self, task_id: str, status: TaskStatus) -> None:
        current = self.table.cursor_row
        if current is not None and current.id == task_id and task_id not in self.decided_in_session:
            self._screen.flash(f"{task_title(current)} is now {status}", warning=True)
        self.remove(task_id)

    def remove(self, task_id: str) -> None:
        if task_id in self.table:
            self.table.remove_row(task_id)
            self._on_change()

    async def _load_changes(self) -> None:
        self._loading_changes = True
        try:
            while self._changed or self._reload_all:
                changed, self._changed = self._changed, set()
                reload_all, self._reload_all = self._reload_all, False
                if reload_all or len(changed) > MAX_SINGLE_READS:
                    await self.load()
                else:
                    for task_id in changed:
                        await self._read_one(task_id)
                await asyncio.sleep(RELOAD_INTERVAL)
        finally:
            self._loading_changes = False

    async def _read_one(self, task_id: str) -> None:
        client = await self._screen.client()
        task = await _read(client, task_id)
        if client is not await self._screen.client():
            return
        if task is None or not self._matches(task):
            self.remove(task_id)
            return
        self._put(task)
        if task_id == self.table.cursor_key:
            await self._load_review()

    def _put(self, task: Task) -> None:
        """Insert the task by its age. A task older than all loaded ones is skipped: it comes with its page."""
        rows = self.table.rows
        if task.id in self.table:
            self.table.update_row(task)
        elif self.next_cursor is None or not rows or _age(task) > _age(rows[-1]):
            self.table.replace(sorted([*rows, task], key=_age, reverse=True))
            self._on_change()


async def _read(client: Client, task_id: str) -> Task | None:
    try:
        return await client.task(task_id)
    except NotFoundError:
        return None


def _age(task: Task) -> tuple[datetime, str]:
    return (task.created_at, task.id)
