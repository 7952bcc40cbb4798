"""The rows of the dashboard: loaded page by page, and kept up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from sealyard.client.protocol import Client
from sealyard.model.errors import NotFoundError
from sealyard_tui.screens.dashboard.filter_syntax import TaskQuery
from sealyard_tui.screens.dashboard.task_row import (
    SortOrder,
    TaskRow,
    apply_change,
    apply_progress,
    from_task,
    insert_position,
    keeps_position,
    sort_rows,
)
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.widgets.virtual_table import VirtualTable

PAGE = 200
"""Tasks in the first page, and about the number of rows added whenever the end comes near."""

LARGE_PAGE = 500
"""Page size while reading to the end; building rows from larger pages would delay key presses."""

MAX_SINGLE_READS = 20
"""Changed tasks up to which each is read by its id; beyond, the first page is read."""

RELOAD_INTERVAL = 0.25
"""Seconds between two reads of what changed."""

SYNC_ROW_LIMIT = 5000
"""Rows up to which a list is filtered or sorted synchronously, without delaying key presses."""


class TaskPager:
    """Reads the list page by page. Orders that the engine does not support are read newest first."""

    def __init__(self, client: Client, query: TaskQuery, order: SortOrder) -> None:
        filters, self._exact = query.to_engine_filter()
        self._client = client
        self._query = query
        self._filters = msgspec.structs.replace(filters, oldest_first=order is SortOrder.OLDEST)
        self._after: str | None = None
        self.complete = False
        self.scanned = 0
        """Number of tasks read, matching or not."""
        self.total: int | None = None
        """Number of matches, if the engine can tell."""

    async def next_page(self) -> list[TaskRow]:
        """Return the matching rows of the next page; :attr:`complete` is set after the last one."""
        limit = LARGE_PAGE if self.scanned else PAGE
        page = await self._client.tasks(self._filters, after=self._after, limit=limit)
        self._after = page.next
        self.complete = page.next is None
        self.scanned += len(page.tasks)
        self.total = page.total if self._exact else None
        rows = [from_task(task) for task in page.tasks]
        return [row for row in rows if self._query.matches(row)]


class TaskListModel:
    """Keeps a table in step with the engine. ``on_change`` is called after each change of its rows."""

    def __init__(
        self, table: VirtualTable[TaskRow], client: Callable[[], Awaitable[Client]], on_change: Callable[[], None]
    ) -> None:
        self.query = TaskQuery()
        self.order = SortOrder.NEWEST
        self.reading = False
        """Whether more rows are being read."""
        self._table = table
        self._client = client
        self._on_change = on_change
        self._pages: TaskPager | None = None
        self._to_end = False
        self._revealed_row: TaskRow | None = None
        self._unordered: list[TaskRow] = []
        """Rows that were read but not inserted yet: sorting for each page would take longer than reading."""
        self._changed: set[str] = set()
        self._catching_up = False
        self._lock = asyncio.Lock()
        """Held from a read until its rows are shown, so that reads are shown in their order."""

    @property
    def loaded(self) -> bool:
        """Whether a page was read."""
        return self._pages is not None

    @property
    def complete(self) -> bool:
        """Whether all matching tasks are in the table."""
        return self._pages is not None and self._pages.complete

    @property
    def total(self) -> int | None:
        """Number of matches, if known."""
        return len(self._table) if self.complete else self._pages.total if self._pages is not None else None

    @property
    def scanned(self) -> int:
        """Number of tasks read, matching or not."""
        return self._pages.scanned if self._pages is not None else 0

    # ---- loading

    async def load(self) -> None:
        """Read the list from scratch, as many rows as were visible. Raises errors of :mod:`sealyard.model.errors`."""
        pages = TaskPager(await self._client(), self.query, self.order)
        visible = self._table.cursor if self.order.server_side else max(0, len(self._table) - PAGE)
        async with self._lock:
            rows = await pages.next_page()
            while len(rows) < min(visible + PAGE, len(self._table)) and not pages.complete:
                rows += await pages.next_page()
            self._pages = pages
            await self._put(rows)
        await self.load_more(visible + PAGE)

    def apply_filter(self, query: TaskQuery) -> None:
        """Filter the first rows at once; :meth:`load` reads the others."""
        self.query = query
        self._revealed_row = None
        self._table.replace([row for row in self._table.rows[:SYNC_ROW_LIMIT] if query.matches(row)])

    def order_by(self, order: SortOrder) -> None:
        """Sort the first rows at once; :meth:`load` reads what comes first in this order."""
        self.order = order
        self._table.replace(sort_rows(self._table.rows[:SYNC_ROW_LIMIT], order))
        self._table.action_go_first()

    def reset(self) -> None:
        self._pages = self._revealed_row = None
        self._changed.clear()
        self._table.replace([])

    def wants_more(self, *, last: bool) -> bool:
        """Return whether :meth:`load_more` has something to do. ``last``: the user wants to go to the very end."""
        if self._pages is None or self._pages.complete:
            return False
        self._to_end = self._to_end or last
        return not self.reading

    async def load_more(self, wanted: int) -> None:
        """Read until there are ``wanted`` rows or the list is complete."""
        if self.reading:
            return
        self.reading = True
        try:
            while not self.complete and (self._to_end or len(self._table) < wanted):
                async with self._lock:
                    await self._read_page()
        finally:
            self.reading = self._to_end = False
            self._on_change()

    async def _read_page(self) -> None:
        pages = self._pages
        if pages is None:
            return
        rows = await pages.next_page()
        if pages is self._pages:
            await self._add(rows)

    async def _put(self, rows: list[TaskRow]) -> None:
        """Replace all rows."""
        self._unordered.clear()
        revealed = self._revealed_row
        if revealed is not None and all(row.id != revealed.id for row in rows):
            rows = [*rows, revealed]
        in_order = self.order.server_side and revealed is None
        self._table.replace(rows if in_order else await self._in_order(rows))
        self._on_change()

    async def _add(self, rows: list[TaskRow]) -> None:
        table = self._table
        follows = self._to_end and table.cursor == len(table) - 1
        if self.order.server_side and self._revealed_row is None:
            table.extend(rows)
        else:
            await self._merge(rows)
        if follows:
            table.move_cursor_to(table.row_at(len(table) - 1).id)
        self._on_change()

    async def _merge(self, rows: list[TaskRow]) -> None:
        """Insert rows in order, whenever the list has doubled, and at its end."""
        self._unordered += rows
        if self._to_end and not self.complete and len(self._unordered) < len(self._table):
            return
        new = [row for row in self._unordered if row.id not in self._table]
        self._unordered.clear()
        self._table.replace(await self._in_order([*self._table.rows, *new]))

    async def _in_order(self, rows: list[TaskRow]) -> list[TaskRow]:
        """Return the rows sorted; many rows are sorted in a thread."""
        if len(rows) <= SYNC_ROW_LIMIT:
            return sort_rows(rows, self.order)
        return await asyncio.to_thread(sort_rows, rows, self.order)

    # ---- updates

    async def apply_update(self, update: EngineUpdate) -> Client | None:
        """Apply progress and status changes, and read other changes.

        Returns the client if something was read; None if another call is reading, or nothing needs to be read.
        """
        for progress in update.progress.values():
            if (row := self._table.row(progress.task_id)) is not None:
                self._table.update_row(apply_progress(row, progress))
        for change in update.tasks.values():
            if (row := self._table.row(change.task_id)) is not None:
                self._update_row(apply_change(row, change))
        self._changed |= set(update.tasks)
        if self._catching_up or not self._changed:
            return None
        self._catching_up = True
        try:
            return await self._catch_up()
        finally:
            self._catching_up = False

    async def _catch_up(self) -> Client:
        """Read all changed tasks, limited in rate."""
        client = await self._client()
        while self._changed:
            changed, self._changed = self._changed, set()
            async with self._lock:
                rows = await self._read(client, changed)
                for row in rows:
                    self._update_row(row)
            self._on_change()
            if self._changed:
                await asyncio.sleep(RELOAD_INTERVAL)
        return client

    async def _read(self, client: Client, changed: set[str]) -> list[TaskRow]:
        if len(changed) > MAX_SINGLE_READS:
            return await TaskPager(client, self.query, self.order).next_page()
        return await self._by_id(client, changed)

    async def _by_id(self, client: Client, ids: Iterable[str]) -> list[TaskRow]:
        rows: list[TaskRow] = []
        for task_id in ids:
            try:
                rows.append(from_task(await client.task(task_id)))
            except NotFoundError:
                self._table.remove_row(task_id)
        return rows

    def _update_row(self, row: TaskRow) -> None:
        """Update, insert or remove a row."""
        table = self._table
        current = table.row(row.id)
        if not self.query.matches(row) and not self._is_revealed(row.id):
            table.remove_row(row.id)
        elif current is not None and keeps_position(current, row, self.order):
            table.update_row(row)
        else:
            self._insert(row)

    def _insert(self, row: TaskRow) -> None:
        """Insert a row, unless it belongs below the loaded pages: then it comes with its page."""
        index = self._index_of(row)
        if index < len(self._table) or self.complete or not self.order.server_side:
            self._table.insert(index, row)

    def _index_of(self, row: TaskRow) -> int:
        """Return the index of a row among the others."""
        table = self._table
        own = table.index_of(row.id)
        if own is None:
            return insert_position(row, len(table), table.row_at, self.order)
        return insert_position(row, len(table) - 1, lambda index: table.row_at(index + (index >= own)), self.order)

    # ---- revealed task

    async def reveal(self, task_id: str) -> TaskRow:
        """Keep a task in the list although its page is not loaded. Raises :class:`NotFoundError`."""
        row = self._table.row(task_id) or from_task(await (await self._client()).task(task_id))
        if row.id not in self._table:
            self._revealed_row = row
            self._table.insert(self._index_of(row), row)
            self._on_change()
        return row

    def _is_revealed(self, task_id: str) -> bool:
        return self._revealed_row is not None and self._revealed_row.id == task_id
