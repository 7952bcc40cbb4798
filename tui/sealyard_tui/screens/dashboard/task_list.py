"""What the dashboard's table holds: pages as they are needed, and what changes meanwhile."""

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
"""Tasks in the first page, and about so many rows more each time the end comes near."""

LARGE_PAGE = 500
"""Making rows of more would hold up a key."""


class TaskPager:
    """One run through the list. ``order``: what the engine cannot order comes newest first."""

    def __init__(self, client: Client, query: TaskQuery, order: SortOrder) -> None:
        filters, self._exact = query.to_engine_filter()
        self._client = client
        self._query = query
        self._filters = msgspec.structs.replace(filters, oldest_first=order is SortOrder.OLDEST)
        self._after: str | None = None
        self.complete = False
        self.looked_at = 0
        """Tasks that were read, matching or not."""
        self.total: int | None = None
        """How many match in all, where the engine can tell."""

    async def next_page(self) -> list[TaskRow]:
        """What matches of the next page; after the last one :attr:`complete` is set."""
        limit = LARGE_PAGE if self.looked_at else PAGE
        page = await self._client.tasks(self._filters, after=self._after, limit=limit)
        self._after = page.next
        self.complete = page.next is None
        self.looked_at += len(page.tasks)
        self.total = page.total if self._exact else None
        rows = [from_task(task) for task in page.tasks]
        return [row for row in rows if self._query.matches(row)]


MAX_SINGLE_READS = 20
"""Changed tasks up to which each is read by its id; of more, the first page is read."""

RELOAD_INTERVAL = 0.25
"""Between two reads of what changed."""

SYNC_ROW_LIMIT = 5000
"""Rows up to which a list is narrowed or ordered at once, without holding up a key."""


class TaskListModel:
    """Keeps a table in step with the engine. ``told`` is called after each change of what the table holds."""

    def __init__(
        self, table: VirtualTable[TaskRow], client: Callable[[], Awaitable[Client]], told: Callable[[], None]
    ) -> None:
        self.query = TaskQuery()
        self.order = SortOrder.NEWEST
        self.reading = False
        """Whether more is being read for the end of the list."""
        self._table = table
        self._client = client
        self._told = told
        self._pages: TaskPager | None = None
        self._to_end = False
        self._revealed_row: TaskRow | None = None
        self._unordered: list[TaskRow] = []
        """Read, and not in the table yet: ordering it for each page would take longer than reading."""
        self._changed: set[str] = set()
        self._catching_up = False
        self._lock = asyncio.Lock()
        """Held from a read until what it gave is shown: what is read later is shown later."""

    @property
    def loaded(self) -> bool:
        """Whether anything was read yet."""
        return self._pages is not None

    @property
    def complete(self) -> bool:
        """Whether all that matches is in the table."""
        return self._pages is not None and self._pages.complete

    @property
    def total(self) -> int | None:
        """How many match in all, where that is known."""
        return len(self._table) if self.complete else self._pages.total if self._pages is not None else None

    @property
    def scanned(self) -> int:
        """Tasks that were read, matching or not."""
        return self._pages.looked_at if self._pages is not None else 0

    # ---- reading

    async def load(self) -> None:
        """Anew, with as much as was seen. Raises errors of the family."""
        pages = TaskPager(await self._client(), self.query, self.order)
        seen = self._table.cursor if self.order.server_side else max(0, len(self._table) - PAGE)
        async with self._lock:
            rows = await pages.next_page()
            while len(rows) < min(seen + PAGE, len(self._table)) and not pages.complete:
                rows += await pages.next_page()
            self._pages = pages
            await self._put(rows)
        await self.load_more(seen + PAGE)

    def apply_filter(self, query: TaskQuery) -> None:
        """Shows at once what of the first rows matches; :meth:`load` brings the others."""
        self.query = query
        self._revealed_row = None
        self._table.replace([row for row in self._table.rows[:SYNC_ROW_LIMIT] if query.matches(row)])

    def order_by(self, order: SortOrder) -> None:
        """Orders the first rows at once; :meth:`load` brings what comes first in this order."""
        self.order = order
        self._table.replace(sort_rows(self._table.rows[:SYNC_ROW_LIMIT], order))
        self._table.action_go_first()

    def forget(self) -> None:
        self._pages = self._revealed_row = None
        self._changed.clear()
        self._table.replace([])

    def wants_more(self, *, last: bool) -> bool:
        """Whether :meth:`read_on` has something to do. ``last``: it is to go on to the very end."""
        if self._pages is None or self._pages.complete:
            return False
        self._to_end = self._to_end or last
        return not self.reading

    async def load_more(self, wanted: int) -> None:
        """More rows, until there are ``wanted`` or no more."""
        if self.reading:
            return
        self.reading = True
        try:
            while not self.complete and (self._to_end or len(self._table) < wanted):
                async with self._lock:
                    await self._read_page()
        finally:
            self.reading = self._to_end = False
            self._told()

    async def _read_page(self) -> None:
        pages = self._pages
        if pages is None:
            return
        rows = await pages.next_page()
        if pages is self._pages:
            await self._add(rows)

    async def _put(self, rows: list[TaskRow]) -> None:
        """These and no others, in their order."""
        self._unordered.clear()
        guest = self._revealed_row
        if guest is not None and all(row.id != guest.id for row in rows):
            rows = [*rows, guest]
        in_order = self.order.server_side and guest is None
        self._table.replace(rows if in_order else await self._in_order(rows))
        self._told()

    async def _add(self, rows: list[TaskRow]) -> None:
        table = self._table
        follows = self._to_end and table.cursor == len(table) - 1
        if self.order.server_side and self._revealed_row is None:
            table.extend(rows)
        else:
            await self._merge(rows)
        if follows:
            table.move_cursor_to(table.row_at(len(table) - 1).id)
        self._told()

    async def _merge(self, rows: list[TaskRow]) -> None:
        """Each time the list has doubled, and at its end."""
        self._unordered += rows
        if self._to_end and not self.complete and len(self._unordered) < len(self._table):
            return
        new = [row for row in self._unordered if row.id not in self._table]
        self._unordered.clear()
        self._table.replace(await self._in_order([*self._table.rows, *new]))

    async def _in_order(self, rows: list[TaskRow]) -> list[TaskRow]:
        """Beside the screen, where there are many."""
        if len(rows) <= SYNC_ROW_LIMIT:
            return sort_rows(rows, self.order)
        return await asyncio.to_thread(sort_rows, rows, self.order)

    # ---- what changes

    async def take(self, news: EngineUpdate) -> Client | None:
        """Puts progress and statuses into the rows, and reads what else changed.

        The client where something was read; None where another call is reading, or nothing is to be read.
        """
        for progress in news.progress.values():
            if (row := self._table.row(progress.task_id)) is not None:
                self._table.update_row(apply_progress(row, progress))
        for change in news.tasks.values():
            if (row := self._table.row(change.task_id)) is not None:
                self._renew(apply_change(row, change))
        self._changed |= set(news.tasks)
        if self._catching_up or not self._changed:
            return None
        self._catching_up = True
        try:
            return await self._catch_up()
        finally:
            self._catching_up = False

    async def _catch_up(self) -> Client:
        """At a measured pace, for all that changes meanwhile."""
        client = await self._client()
        while self._changed:
            changed, self._changed = self._changed, set()
            async with self._lock:
                rows = await self._read(client, changed)
                for row in rows:
                    self._renew(row)
            self._told()
            if self._changed:
                await asyncio.sleep(RELOAD_INTERVAL)
        return client

    async def _read(self, client: Client, changed: set[str]) -> list[TaskRow]:
        if len(changed) > MAX_SINGLE_READS:
            return await TaskPager(client, self.query, self.order).next_page()
        return [row for row in await self._by_id(client, changed) if row is not None]

    async def _by_id(self, client: Client, ids: Iterable[str]) -> list[TaskRow]:
        rows: list[TaskRow] = []
        for task_id in ids:
            try:
                rows.append(from_task(await client.task(task_id)))
            except NotFoundError:
                self._table.remove_row(task_id)
        return rows

    def _renew(self, row: TaskRow) -> None:
        """A row in its place, or out of the list, or into it."""
        table = self._table
        there = table.row(row.id)
        if not self.query.matches(row) and not self._is_guest(row.id):
            table.remove_row(row.id)
        elif there is not None and keeps_position(there, row, self.order):
            table.update_row(row)
        else:
            self._insert(row)

    def _insert(self, row: TaskRow) -> None:
        """What belongs below the pages that were read comes with its page."""
        place = self._place_of(row)
        if place < len(self._table) or self.complete or not self.order.server_side:
            self._table.insert(place, row)

    def _place_of(self, row: TaskRow) -> int:
        """Among the others."""
        table = self._table
        own = table.index_of(row.id)
        if own is None:
            return insert_position(row, len(table), table.row_at, self.order)
        return insert_position(row, len(table) - 1, lambda place: table.row_at(place + (place >= own)), self.order)

    # ---- one that is asked for by name

    async def reveal(self, task_id: str) -> TaskRow:
        """A task that stays in the list though its page is far. Raises :class:`NotFoundError`."""
        row = self._table.row(task_id) or from_task(await (await self._client()).task(task_id))
        if row.id not in self._table:
            self._revealed_row = row
            self._table.insert(self._place_of(row), row)
            self._told()
        return row

    def _is_guest(self, task_id: str) -> bool:
        return self._revealed_row is not None and self._revealed_row.id == task_id
