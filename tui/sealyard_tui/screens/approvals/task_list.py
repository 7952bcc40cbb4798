"""List of pending tasks on the approvals screen, loaded page by page and updated with few requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from sealyard.client.protocol import Client
from sealyard.model.errors import NotFoundError
from sealyard.model.requests import TaskFilter
from sealyard.model.tasks import DetailedStatus, Task, TaskStatus
from sealyard_tui.formatting import task_title
from sealyard_tui.fuzzy import find_matches
from sealyard_tui.screens.approvals.row import EXPIRED_TEXT, PendingOrder, get_blocked_reason, sort_tasks
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.sort_order import SortOrder
from sealyard_tui.widgets.virtual_table import VirtualTable

PAGE_SIZE = 200
MAX_PAGE_SIZE = 1000
MAX_SINGLE_READS = 20
"""Maximum number of changed tasks to load individually; if there are more, the whole list is reloaded."""

RELOAD_INTERVAL = 0.3
"""Minimum interval in seconds between loads of changed tasks."""


class PendingTaskList:
    """Loader that fills the table of a screen with pending tasks and keeps it up to date.

    ``on_change`` is called whenever the rows change. ``load_review`` reloads the review of the current task.
    ``get_shown_text`` returns the text of a row's cells: the engine does not search text such as the age of a task,
    which only the list shows. Such text is searched in the first :data:`PAGE_SIZE` tasks.
    """

    def __init__(
        self,
        screen: BaseScreen,
        *,
        on_change: Callable[[], None],
        load_review: Callable[[], Awaitable[None]],
        get_shown_text: Callable[[Task], str],
    ) -> None:
        self.show_all = False
        """Whether all pending tasks are shown instead of only those that the user can approve."""
        self.decided_in_session: set[str] = set()
        """Ids of the tasks that the user has decided on in this session, whose results have already been reported."""
        self.next_cursor: str | None = None
        """Cursor for the next page; None if all pages have been loaded."""
        self.order: SortOrder = PendingOrder()
        self.is_similar = False
        """Whether no task contains the text of the filter, and the list shows tasks with similar words."""
        self._screen = screen
        self._on_change = on_change
        self._load_review = load_review
        self._get_shown_text = get_shown_text
        self._is_loading_more = False
        self._changed_ids: set[str] = set()
        self._needs_reload = False
        self._is_loading_changes = False
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
        self.is_similar = False
        self._loaded_filter = None
        self._changed_ids.clear()

    # ---- pages

    async def load(self) -> None:
        """Reload the list: at least one page, and at least as many tasks as the table contains.

        The cursor of the table stays on its task.
        """
        client = await self._screen.client()
        task_filter = self._filter()
        count = max(PAGE_SIZE, len(self.table))
        tasks: list[Task] = []
        cursor: str | None = None
        while len(tasks) < count:
            page = await client.tasks(task_filter, after=cursor, limit=min(MAX_PAGE_SIZE, count - len(tasks)))
            tasks += page.tasks
            cursor = page.next
            if cursor is None:
                break
        loaded_ids = {task.id for task in tasks}
        previous_rows = self.table.rows if task_filter == self._loaded_filter else []
        overdue_tasks = await self._reload_overdue(
            client, (task for task in previous_rows if task.id not in loaded_ids)
        )
        shown_matches, is_similar = await self._find_shown_matches(client, task_filter, tasks)
        if await self._is_outdated(client, task_filter):
            return
        self.next_cursor = cursor
        self.is_similar = is_similar
        self._loaded_filter = task_filter
        self.table.replace(shown_matches if is_similar else self._sort([*tasks, *overdue_tasks, *shown_matches]))
        self._on_change()
        await self._load_review()

    async def _find_shown_matches(
        self, client: Client, task_filter: TaskFilter, tasks: Sequence[Task]
    ) -> tuple[list[Task], bool]:
        """Return tasks that are not in ``tasks``, and whether they are only similar, the best match first.

        Their rows contain the words of the filter. If no task does, the tasks have similar names.
        """
        if not task_filter.text:
            return [], False
        page = await client.tasks(msgspec.structs.replace(task_filter, text=""), limit=PAGE_SIZE)
        known_ids = {task.id for task in tasks}
        other_tasks = [task for task in page.tasks if task.id not in known_ids]
        matches, is_similar = find_matches(other_tasks, task_filter.text, self._get_shown_text)
        if not is_similar:
            return matches, False
        return ([], False) if tasks else find_matches(other_tasks, task_filter.text, _name_text)

    async def _is_outdated(self, client: Client, task_filter: TaskFilter) -> bool:
        """Return whether the client or the filter has changed since ``client`` and ``task_filter`` were obtained."""
        return task_filter != self._filter() or client is not await self._screen.client()

    async def _reload_overdue(self, client: Client, missing_tasks: Iterable[Task]) -> list[Task]:
        """Reload the expired tasks among ``missing_tasks`` and return those that are still pending.

        They stay in the list until the engine cancels them.
        """
        state, now = self._screen.state, self._screen.now()
        overdue_tasks = [task for task in missing_tasks if get_blocked_reason(task, state, now) == EXPIRED_TEXT]
        reloaded_tasks = [await _read_task(client, task.id) for task in overdue_tasks[:MAX_SINGLE_READS]]
        return [task for task in reloaded_tasks if task is not None and self._matches(task)]

    def _matches(self, task: Task) -> bool:
        """Return whether the task belongs in the list with the current filter."""
        reason = get_blocked_reason(task, self._screen.state, self._screen.now())
        return (
            task.status is TaskStatus.WAITING
            and (self.show_all or reason in ("", EXPIRED_TEXT))
            and self._matches_text(task)
        )

    def _matches_text(self, task: Task) -> bool:
        """Return whether the task, or its row in the list, contains the text of the filter."""
        if TaskFilter(text=self._filter_text).matches(task, self._screen.state.subject_names):
            return True
        matches, is_similar = find_matches([task], self._filter_text, self._get_shown_text)
        return bool(matches) and not is_similar

    def load_more(self) -> None:
        """Load the next page, if any, in the background."""
        if self.next_cursor is not None and not self._is_loading_more:
            self._is_loading_more = True
            self._screen.run_background(self._load_next_page(), group="next-page")

    async def _load_next_page(self) -> None:
        try:
            client = await self._screen.client()
            task_filter = self._filter()
            page = await client.tasks(task_filter, after=self.next_cursor, limit=MAX_PAGE_SIZE)
            if await self._is_outdated(client, task_filter):
                return
            self.next_cursor = page.next
            self._append(page.tasks)
            self._on_change()
        finally:
            self._is_loading_more = False

    # ---- sort order

    @property
    def sorts_loaded_rows(self) -> bool:
        """Whether the sort order applies only to the loaded tasks, because there are more."""
        return self.next_cursor is not None and self.order != PendingOrder()

    def apply_order(self, order: SortOrder) -> None:
        self.order = order
        self.table.replace(self._sort(self.table.rows))
        self.table.action_go_first()

    def _sort(self, tasks: Iterable[Task]) -> list[Task]:
        return sort_tasks(tasks, self.order, self._screen.state, self._screen.now())

    def _append(self, tasks: Sequence[Task]) -> None:
        """Add tasks that are older than all others."""
        if self.order == PendingOrder():
            self.table.extend(tasks)
            return
        known_ids = {task.id for task in tasks}
        self.table.replace(self._sort([*(task for task in self.table.rows if task.id not in known_ids), *tasks]))

    # ---- updates

    async def apply_update(self, update: EngineUpdate) -> None:
        """Remove tasks that are no longer pending, and reload the other changed tasks at a limited rate."""
        self._needs_reload = self._needs_reload or update.missed_events or bool(update.resources)
        for task_id, change in update.tasks.items():
            if change.status is TaskStatus.WAITING:
                self._changed_ids.add(task_id)
            else:
                self._changed_ids.discard(task_id)
                self._remove_decided(task_id, change.detailed_status or change.status)
        if (self._changed_ids or self._needs_reload) and not self._is_loading_changes:
            await self._load_changes()

    def _remove_decided(self, task_id: str, status: TaskStatus | DetailedStatus) -> None:
        current = self.table.cursor_row
        if current is not None and current.id == task_id and task_id not in self.decided_in_session:
            self._screen.flash(f"{task_title(current)} is now {status}", warning=True)
        self.remove(task_id)

    def remove(self, task_id: str) -> None:
        if task_id in self.table:
            self.table.remove_row(task_id)
            self._on_change()

    async def _load_changes(self) -> None:
        self._is_loading_changes = True
        try:
            while self._changed_ids or self._needs_reload:
                task_ids, self._changed_ids = self._changed_ids, set()
                needs_reload, self._needs_reload = self._needs_reload, False
                if needs_reload or len(task_ids) > MAX_SINGLE_READS:
                    await self.load()
                else:
                    for task_id in task_ids:
                        await self._read_one(task_id)
                await asyncio.sleep(RELOAD_INTERVAL)
        finally:
            self._is_loading_changes = False

    async def _read_one(self, task_id: str) -> None:
        if self.is_similar:
            await self.load()
            return
        client = await self._screen.client()
        task = await _read_task(client, task_id)
        if client is not await self._screen.client():
            return
        if task is None or not self._matches(task):
            self.remove(task_id)
            return
        self._insert_or_update(task)
        if task_id == self.table.cursor_key:
            await self._load_review()

    def _insert_or_update(self, task: Task) -> None:
        """Insert or update a task, unless it belongs to a page that has not been loaded yet."""
        rows = self.table.rows
        if task.id in self.table and self.order == PendingOrder():
            self.table.update_row(task)
        elif self._belongs_to_loaded_pages(task, rows):
            self.table.replace(self._sort([*(row for row in rows if row.id != task.id), task]))
            self._on_change()

    def _belongs_to_loaded_pages(self, task: Task, rows: Sequence[Task]) -> bool:
        if self.next_cursor is None or not rows or task.id in self.table:
            return True
        return any(_sort_key(task) > _sort_key(row) for row in rows)


async def _read_task(client: Client, task_id: str) -> Task | None:
    try:
        return await client.task(task_id)
    except NotFoundError:
        return None


def _name_text(task: Task) -> str:
    """Return the text in which similar words are searched, in lowercase."""
    return f"{task_title(task)} {task.config_name}".casefold()


def _sort_key(task: Task) -> tuple[datetime, str]:
    return (task.created_at, task.id)
