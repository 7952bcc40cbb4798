"""What the dashboard's table holds: pages as they are needed, and what changes meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from sealyard.client.protocol import Client
from sealyard.model.errors import NotFoundError
from sealyard_tui.screens.dashboard.task_filter import TaskQuery
from sealyard_tui.screens.dashboard.task_pages import PAGE, TaskPages
from sealyard_tui.screens.dashboard.task_row import Order, TaskRow, advanced, moved, ordered, place_of, row_of, stays
from sealyard_tui.session.messages import News
from sealyard_tui.widgets.big_table import BigTable

FEW = 20
"""Changed tasks up to which each is read by its id; of more, the first page is read."""

PACE_SECONDS = 0.25
"""Between two reads of what changed."""

AT_ONCE = 5000
"""Rows up to which a list is narrowed or ordered at once, without holding up a key."""


class TaskList:
    """Keeps a table in step with the engine. ``told`` is called after each change of what the table holds."""

    def __init__(
        self, table: BigTable[TaskRow], client: Callable[[], Awaitable[Client]], told: Callable[[], None]
    ) -> None:
        self.query = TaskQuery()
        self.order = Order.NEWEST
        self.reading = False
        """Whether more is being read for the end of the list."""
        self._table = table
        self._client = client
        self._told = told
        self._pages: TaskPages | None = None
        self._to_end = False
        self._guest: TaskRow | None = None
        self._unordered: list[TaskRow] = []
        """Read, and not in the table yet: ordering it for each page would take longer than reading."""
        self._changed: set[str] = set()
        self._catching_up = False
        self._lock = asyncio.Lock()
        """Held from a read until what it gave is shown: what is read later is shown later."""

    @property
    def begun(self) -> bool:
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
    def looked_at(self) -> int:
        """Tasks that were read, matching or not."""
        return self._pages.looked_at if self._pages is not None else 0

    # ---- reading

    async def load(self) -> None:
        """Anew, with as much as was seen. Raises errors of the family."""
        pages = TaskPages(await self._client(), self.query, self.order)
        seen = self._table.cursor if self.order.by_engine else max(0, len(self._table) - PAGE)
        async with self._lock:
            rows = await pages.more()
            while len(rows) < min(seen + PAGE, len(self._table)) and not pages.complete:
                rows += await pages.more()
            self._pages = pages
            await self._put(rows)
        await self.read_on(seen + PAGE)

    def narrow(self, query: TaskQuery) -> None:
        """Shows at once what of the first rows matches; :meth:`load` brings the others."""
        self.query = query
        self._guest = None
        self._table.replace([row for row in self._table.rows[:AT_ONCE] if query.matches(row)])

    def order_by(self, order: Order) -> None:
        """Orders the first rows at once; :meth:`load` brings what comes first in this order."""
        self.order = order
        self._table.replace(ordered(self._table.rows[:AT_ONCE], order))
        self._table.action_go_first()

    def forget(self) -> None:
        self._pages = self._guest = None
        self._changed.clear()
        self._table.replace([])

    def wants_more(self, *, last: bool) -> bool:
        """Whether :meth:`read_on` has something to do. ``last``: it is to go on to the very end."""
        if self._pages is None or self._pages.complete:
            return False
        self._to_end = self._to_end or last
        return not self.reading

    async def read_on(self, wanted: int) -> None:
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
        rows = await pages.more()
        if pages is self._pages:
            await self._add(rows)

    async def _put(self, rows: list[TaskRow]) -> None:
        """These and no others, in their order."""
        self._unordered.clear()
        guest = self._guest
        if guest is not None and all(row.id != guest.id for row in rows):
            rows = [*rows, guest]
        in_order = self.order.by_engine and guest is None
        self._table.replace(rows if in_order else await self._in_order(rows))
        self._told()

    async def _add(self, rows: list[TaskRow]) -> None:
        table = self._table
        follows = self._to_end and table.cursor == len(table) - 1
        if self.order.by_engine and self._guest is None:
            table.extend(rows)
        else:
            await self._merge(rows)
        if follows:
            table.go_to(table.row_at(len(table) - 1).id)
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
        if len(rows) <= AT_ONCE:
            return ordered(rows, self.order)
        return await asyncio.to_thread(ordered, rows, self.order)

    # ---- what changes

    async def take(self, news: News) -> Client | None:
        """Puts progress and statuses into the rows, and reads what else changed.

        The client where something was read; None where another call is reading, or nothing is to be read.
        """
        for progress in news.progress.values():
            if (row := self._table.row(progress.task_id)) is not None:
                self._table.renew(advanced(row, progress))
        for change in news.tasks.values():
            if (row := self._table.row(change.task_id)) is not None:
                self._renew(moved(row, change))
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
                await asyncio.sleep(PACE_SECONDS)
        return client

    async def _read(self, client: Client, changed: set[str]) -> list[TaskRow]:
        if len(changed) > FEW:
            return await TaskPages(client, self.query, self.order).more()
        return [row for row in await self._by_id(client, changed) if row is not None]

    async def _by_id(self, client: Client, ids: Iterable[str]) -> list[TaskRow]:
        rows: list[TaskRow] = []
        for task_id in ids:
            try:
                rows.append(row_of(await client.task(task_id)))
            except NotFoundError:
                self._table.drop(task_id)
        return rows

    def _renew(self, row: TaskRow) -> None:
        """A row in its place, or out of the list, or into it."""
        table = self._table
        there = table.row(row.id)
        if not self.query.matches(row) and not self._is_guest(row.id):
            table.drop(row.id)
        elif there is not None and stays(there, row, self.order):
            table.renew(row)
        else:
            self._insert(row)

    def _insert(self, row: TaskRow) -> None:
        """What belongs below the pages that were read comes with its page."""
        place = self._place_of(row)
        if place < len(self._table) or self.complete or not self.order.by_engine:
            self._table.insert(place, row)

    def _place_of(self, row: TaskRow) -> int:
        """Among the others."""
        table = self._table
        own = table.place_of(row.id)
        if own is None:
            return place_of(row, len(table), table.row_at, self.order)
        return place_of(row, len(table) - 1, lambda place: table.row_at(place + (place >= own)), self.order)

    # ---- one that is asked for by name

    async def invite(self, task_id: str) -> TaskRow:
        """A task that stays in the list though its page is far. Raises :class:`NotFoundError`."""
        row = self._table.row(task_id) or row_of(await (await self._client()).task(task_id))
        if row.id not in self._table:
            self._guest = row
            self._table.insert(self._place_of(row), row)
            self._told()
        return row

    def _is_guest(self, task_id: str) -> bool:
        return self._guest is not None and self._guest.id == task_id
