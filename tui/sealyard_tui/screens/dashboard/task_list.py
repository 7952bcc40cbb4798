"""The task list of the dashboard, loaded page by page and updated with few requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from sealyard.client.protocol import Client
from sealyard.model.errors import NotFoundError
from sealyard_tui.screens.dashboard.filter_syntax import TaskQuery
from sealyard_tui.screens.dashboard.task_row import (
    NEWEST,
    OLDEST,
    TaskOrder,
    TaskRow,
    apply_change,
    apply_progress,
    create_row,
    find_insert_position,
    keeps_position,
    sort_rows,
)
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.widgets.virtual_table import VirtualTable

PAGE_SIZE = 200
"""Size of the first page, and number of rows to load beyond the cursor."""

LARGE_PAGE_SIZE = 500
"""Size of all other pages. Creating the rows of larger pages would delay the response to key presses."""

MAX_SINGLE_READS = 20
"""Maximum number of changed tasks to read one by one; if there are more, the first page is read instead."""

RELOAD_INTERVAL = 0.25
"""Minimum number of seconds between two rounds of reading changed tasks."""

SYNC_ROW_LIMIT = 5000
"""Maximum number of rows to filter or sort on the event loop; more would delay the response to key presses."""


class TaskPager:
    """Reader that loads matching tasks page by page, newest first unless the sort order is :data:`OLDEST`."""

    def __init__(self, client: Client, query: TaskQuery, order: TaskOrder) -> None:
        filters, self._exact = query.to_engine_filter()
        self._client = client
        self._query = query
        self._filters = msgspec.structs.replace(filters, oldest_first=order == OLDEST)
        self._cursor: str | None = None
        self.is_complete = False
        """Whether the last page has been read."""
        self.scanned_count = 0
        """Number of tasks that have been read, including those that do not match."""
        self.total: int | None = None
        """Number of matching tasks; None if no page has been read or the engine cannot apply the whole filter."""

    async def read_next_page(self) -> list[TaskRow]:
        """Read the next page and return the rows that match the filter."""
        limit = LARGE_PAGE_SIZE if self.scanned_count else PAGE_SIZE
        page = await self._client.tasks(self._filters, after=self._cursor, limit=limit)
        self._cursor = page.next
        self.is_complete = page.next is None
        self.scanned_count += len(page.tasks)
        self.total = page.total if self._exact else None
        rows = [create_row(task) for task in page.tasks]
        return [row for row in rows if self._query.matches(row)]


class TaskListModel:
    """Model that fills a table with tasks and keeps it up to date.

    ``on_change`` is called after rows have changed. ``get_shown_text`` returns the text of a row's cells. The engine
    searches for words in the properties of a task, but not in text such as its age, which only the list shows. Such
    text is searched in the first :data:`PAGE_SIZE` tasks, so that the cost does not depend on the number of tasks.
    """

    def __init__(
        self,
        table: VirtualTable[TaskRow],
        client: Callable[[], Awaitable[Client]],
        on_change: Callable[[], None],
        get_shown_text: Callable[[TaskRow], str],
    ) -> None:
        self.query = TaskQuery()
        self._chosen_order = NEWEST
        self.is_reading = False
        """Whether more rows are being read."""
        self._table = table
        self._client = client
        self._on_change = on_change
        self._get_shown_text = get_shown_text
        self._shown_match_count = 0
        """Number of rows that match only in the text that the list shows."""
        self._pager: TaskPager | None = None
        self._reads_to_end = False
        self._revealed_row: TaskRow | None = None
        self._pending_rows: list[TaskRow] = []
        """Rows that have been read but not inserted yet, because sorting after each page would take too long."""
        self._changed_ids: set[str] = set()
        self._is_catching_up = False
        self._lock = asyncio.Lock()
        """Held from a request until its rows are in the table, so that responses are applied in order."""

    @property
    def order(self) -> TaskOrder:
        """The sort order: the one that the user has chosen, or the best match first in a fuzzy search."""
        return TaskOrder(rank=self.query.rank) if self.query.is_fuzzy else self._chosen_order

    @property
    def is_loaded(self) -> bool:
        """Whether the first page has been loaded."""
        return self._pager is not None

    @property
    def is_complete(self) -> bool:
        """Whether all matching tasks are in the table."""
        return self._pager is not None and self._pager.is_complete

    @property
    def total(self) -> int | None:
        """Number of matching tasks; None if it is not known."""
        if self.is_complete:
            return len(self._table)
        total = self._pager.total if self._pager is not None else None
        return total + self._shown_match_count if total is not None else None

    @property
    def scanned_count(self) -> int:
        """Number of tasks that have been read, including those that do not match."""
        return self._pager.scanned_count if self._pager is not None else 0

    def format_title(self, last_update: str) -> list[str]:
        """Return the parts of the title: the number of tasks, the sort order, and the progress or ``last_update``."""
        row_count = len(self._table)
        count = f"{row_count:,}" if self.total in (None, row_count) else f"{row_count:,} of {self.total:,}"
        if self.total is None:
            count += "+"
        sorts_loaded_rows = not self.order.is_server_side and not self.is_complete
        order_note = f" ({row_count:,} loaded rows only)" if sorts_loaded_rows else ""
        return [
            f"{count} {'task' if count == '1' else 'tasks'}",
            f"{self.order.label}{order_note}",
            f"loading, {self.scanned_count:,} checked" if self.is_reading else last_update,
        ]

    # ---- loading

    async def load(self) -> None:
        """Reload the list, at least as far as the cursor. Raises errors from :mod:`sealyard.model.errors`."""
        client = await self._client()
        pager = TaskPager(client, self.query, self.order)
        row_count = self._table.cursor if self.order.is_server_side else max(0, len(self._table) - PAGE_SIZE)
        async with self._lock:
            rows = await pager.read_next_page()
            while len(rows) < min(row_count + PAGE_SIZE, len(self._table)) and not pager.is_complete:
                rows += await pager.read_next_page()
            shown_matches = await self._read_shown_matches(client, rows)
            self._pager, self._shown_match_count = pager, len(shown_matches)
            await self._replace_rows([*rows, *shown_matches])
        await self.load_more(row_count + PAGE_SIZE)
        if self.is_complete and not len(self._table) and (query := self.query.to_fuzzy()) is not None:
            self.query = query
            await self.load()

    async def _read_shown_matches(self, client: Client, rows: list[TaskRow]) -> list[TaskRow]:
        """Return those of the first tasks that match in the text that the list shows, and are not in ``rows``."""
        if not self.query.has_words:
            return []
        known_ids = {row.id for row in rows}
        first_rows = await TaskPager(client, self.query.without_words(), self.order).read_next_page()
        return [row for row in first_rows if row.id not in known_ids and self._matches(row)]

    def _matches(self, row: TaskRow) -> bool:
        """Return whether a row matches the filter, also in the text that the list shows."""
        query = self.query
        return query.matches(row) or (query.has_words and query.matches(row, self._get_shown_text(row)))

    def apply_filter(self, query: TaskQuery) -> None:
        """Set the filter and apply it to the first :data:`SYNC_ROW_LIMIT` loaded rows.

        The caller must then call :meth:`load` to read all matching rows.
        """
        self.query = query
        self._revealed_row = None
        rows = self._table.rows
        first_rows = [row for row in rows[:PAGE_SIZE] if self._matches(row)]
        self._table.replace(first_rows + [row for row in rows[PAGE_SIZE:SYNC_ROW_LIMIT] if query.matches(row)])

    def apply_order(self, order: TaskOrder) -> None:
        """Set the sort order and apply it to the first :data:`SYNC_ROW_LIMIT` loaded rows; go to the first row.

        The caller must then call :meth:`load` to read the rows in this order.
        """
        self._chosen_order = order
        self._table.replace(sort_rows(self._table.rows[:SYNC_ROW_LIMIT], order))
        self._table.action_go_first()

    def reset(self) -> None:
        self._pager = self._revealed_row = None
        self._shown_match_count = 0
        self._changed_ids.clear()
        self._table.replace([])

    def needs_more(self, *, last: bool) -> bool:
        """Return whether :meth:`load_more` must be called.

        ``last``: whether the user wants to go to the end. If so, all remaining pages will be read, even by a call that
        is already running.
        """
        if self._pager is None or self._pager.is_complete:
            return False
        self._reads_to_end = self._reads_to_end or last
        return not self.is_reading

    async def load_more(self, count: int) -> None:
        """Read pages until the table has ``count`` rows or is complete. Does nothing if a call is already running."""
        if self.is_reading:
            return
        self.is_reading = True
        try:
            while not self.is_complete and (self._reads_to_end or len(self._table) < count):
                async with self._lock:
                    await self._read_page()
        finally:
            self.is_reading = self._reads_to_end = False
            self._on_change()

    async def _read_page(self) -> None:
        pager = self._pager
        if pager is None:
            return
        rows = await pager.read_next_page()
        if pager is self._pager:
            await self._append_rows(rows)

    async def _replace_rows(self, rows: list[TaskRow]) -> None:
        """Replace all rows, but keep the revealed task."""
        self._pending_rows.clear()
        revealed_row = self._revealed_row
        if revealed_row is not None and all(row.id != revealed_row.id for row in rows):
            rows = [*rows, revealed_row]
        is_sorted = self.order.is_server_side and revealed_row is None and not self._shown_match_count
        self._table.replace(rows if is_sorted else await self._sort(rows))
        self._on_change()

    async def _append_rows(self, rows: list[TaskRow]) -> None:
        table = self._table
        follows_end = self._reads_to_end and table.cursor == len(table) - 1
        if self.order.is_server_side and self._revealed_row is None:
            table.extend(rows)
        else:
            await self._merge_rows(rows)
        if follows_end:
            table.move_cursor_to(table.row_at(len(table) - 1).id)
        self._on_change()

    async def _merge_rows(self, rows: list[TaskRow]) -> None:
        """Insert rows in sort order.

        While reading to the end, collects rows until inserting them at least doubles the number of rows in the table.
        """
        self._pending_rows += rows
        if self._reads_to_end and not self.is_complete and len(self._pending_rows) < len(self._table):
            return
        new_rows = [row for row in self._pending_rows if row.id not in self._table]
        self._pending_rows.clear()
        self._table.replace(await self._sort([*self._table.rows, *new_rows]))

    async def _sort(self, rows: list[TaskRow]) -> list[TaskRow]:
        """Sort rows, in a thread if there are more than :data:`SYNC_ROW_LIMIT`."""
        if len(rows) <= SYNC_ROW_LIMIT:
            return sort_rows(rows, self.order)
        return await asyncio.to_thread(sort_rows, rows, self.order)

    # ---- updates

    async def apply_update(self, update: EngineUpdate) -> Client | None:
        """Apply progress and status changes, and read the changed tasks.

        Returns the client if tasks were read, or None if no task has changed or another call is already reading them.
        """
        for progress in update.progress.values():
            if (row := self._table.row(progress.task_id)) is not None:
                self._table.update_row(apply_progress(row, progress))
        for change in update.tasks.values():
            if (row := self._table.row(change.task_id)) is not None:
                self._update_row(apply_change(row, change))
        self._changed_ids |= set(update.tasks)
        if self._is_catching_up or not self._changed_ids:
            return None
        self._is_catching_up = True
        try:
            return await self._catch_up()
        finally:
            self._is_catching_up = False

    async def _catch_up(self) -> Client:
        """Read all changed tasks at a limited rate, and return the client."""
        client = await self._client()
        while self._changed_ids:
            task_ids, self._changed_ids = self._changed_ids, set()
            async with self._lock:
                rows = await self._read_changes(client, task_ids)
                for row in rows:
                    self._update_row(row)
            self._on_change()
            if self._changed_ids:
                await asyncio.sleep(RELOAD_INTERVAL)
        return client

    async def _read_changes(self, client: Client, task_ids: set[str]) -> list[TaskRow]:
        if len(task_ids) > MAX_SINGLE_READS:
            return await TaskPager(client, self.query, self.order).read_next_page()
        return await self._read_by_id(client, task_ids)

    async def _read_by_id(self, client: Client, task_ids: Iterable[str]) -> list[TaskRow]:
        rows: list[TaskRow] = []
        for task_id in task_ids:
            try:
                rows.append(create_row(await client.task(task_id)))
            except NotFoundError:
                self._table.remove_row(task_id)
        return rows

    def _update_row(self, row: TaskRow) -> None:
        """Update, move or insert a row, or remove it if it no longer matches the filter."""
        table = self._table
        current = table.row(row.id)
        if not self._matches(row) and not self._is_revealed(row.id):
            table.remove_row(row.id)
        elif current is not None and keeps_position(current, row, self.order):
            table.update_row(row)
        else:
            self._insert_row(row)

    def _insert_row(self, row: TaskRow) -> None:
        """Insert a row, unless it belongs to a page that has not been loaded yet."""
        index = self._find_index(row)
        if index < len(self._table) or self.is_complete or not self.order.is_server_side:
            self._table.insert(index, row)

    def _find_index(self, row: TaskRow) -> int:
        """Return the index at which a row belongs in the sort order, ignoring its current position in the table."""
        table = self._table
        current_index = table.index_of(row.id)
        if current_index is None:
            return find_insert_position(row, len(table), table.row_at, self.order)
        return find_insert_position(
            row, len(table) - 1, lambda index: table.row_at(index + (index >= current_index)), self.order
        )

    # ---- revealed task

    async def reveal(self, task_id: str) -> TaskRow:
        """Return the row of a task, adding it to the list even if it does not match or its page is not loaded.

        Raises :class:`NotFoundError` if the task does not exist.
        """
        row = self._table.row(task_id) or create_row(await (await self._client()).task(task_id))
        if row.id not in self._table:
            self._revealed_row = row
            self._table.insert(self._find_index(row), row)
            self._on_change()
        return row

    def _is_revealed(self, task_id: str) -> bool:
        return self._revealed_row is not None and self._revealed_row.id == task_id
