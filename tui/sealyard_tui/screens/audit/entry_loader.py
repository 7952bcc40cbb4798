"""What the audit place reads of the log and when: a page at a time, what is newer as it comes, and down to an entry."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from datetime import datetime

from textual import on
from textual.content import Content
from textual.widgets import Static

from sealyard.client.protocol import Client
from sealyard.model.access import Action, ResourceType, is_allowed, resource_type_uri
from sealyard.model.audit import AuditEntry, AuditFilter
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text
from sealyard_tui.screens.audit.entry_format import row_key
from sealyard_tui.screens.audit.filter_syntax import parse_filter
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable

PAGE = 100
LARGE_PAGE = 1000
"""While the end, or an entry far down, is looked for; more than a page may have is refused."""

MAX_CATCH_UP = 2000
"""Newer entries beyond which the list begins anew rather than takes them all in."""

PAUSE = 0.25
"""Seconds between two looks for newer entries, however many events come."""

ALLOWED = resource_type_uri(ResourceType.AUDIT_LOG)

READING = "Reading the log …"
EMPTY = "Nothing is recorded yet."
NO_MATCH = "No entry matches. Esc clears the filter; f shows it as a form."
ACCESS_DENIED = (
    "The audit log is not open to you.\n\n"
    "Ask somebody who manages access in this workspace to give {subject} VIEW on the audit log: + under 6 Access.\n\n"
    "It opens here by itself then."
)


class AuditLoader(BaseScreen):
    """The list grows by what is read here; what else is seen of it follows in :meth:`update_title` and the detail."""

    def __init__(self) -> None:
        super().__init__()
        self._allowed = True
        self._filters = AuditFilter()
        self._line: str | None = None
        """The filter of what is shown; None before the first time."""
        self._turn = 0
        """Counts the beginnings: what was asked for in an earlier one is not shown in a later one."""
        self._top = -1
        """The newest entry that was looked at, whether it matches or not."""
        self._log_size = 0
        self._sealed = 0
        self._next: int | None = None
        """Where older ones go on; None at the end."""
        self._wanted: int | None = None
        """The entry to go to once the list is there."""
        self._goal: int | None = None
        """The entry down to which all are being read."""
        self._left_at: str | None = None
        """Where the cursor waits for the goal."""
        self._searching = False
        self._reading_older = False
        self._catching_up = False
        self._catch_up_again = False
        self._looked_at = 0.0
        """When newer ones were looked for, by the loop's clock."""
        self._polls = True

    @property
    def table(self) -> VirtualTable[AuditEntry]:
        return self.query_one("#entries", VirtualTable)

    # ---- for the place to say

    @abstractmethod
    def update_title(self) -> None:
        """How much was read, and what goes on."""

    @abstractmethod
    def show_detail(self) -> None:
        """The entry under the cursor, in full."""

    # ---- reading

    async def load(self) -> None:
        """The first page; where the list is there already, only what is newer: entries never change."""
        self._polls = False
        await self._load_list()
        self._polls = True
        wanted, self._wanted = self._wanted, None
        if wanted is not None and self._line is not None:
            self._load_until(wanted)

    async def _load_list(self) -> None:
        line = self.query_one(FilterBar).text
        client = await self.client()
        if not await self._search(client):
            return
        if line == self._line:
            await self._read_newer(client)
            return
        try:
            filters = parse_filter(line, self.now())
        except UsageError as error:
            self.query_one(FilterBar).show_error(error.message)
            if self._line is not None:
                return
            line, filters = "", AuditFilter()
        await self._begin(client, line, filters)

    async def _search(self, client: Client) -> bool:
        """How far the log goes, and whether one may see it: asking for entries without the right is recorded."""
        info = await client.workspace()
        allowed = is_allowed(info.rights, Action.VIEW, ALLOWED)
        if allowed is not self._allowed:
            self._allowed = allowed
            self.set_class(not allowed, "-kept-out")
            self.refresh_bindings()
        if not self._allowed:
            self.reset()
            self.query_one("#kept-out", Static).update(Content(ACCESS_DENIED.format(subject=escape_text(info.subject))))
        elif info.audit_checkpointed != self._sealed:
            self._sealed = info.audit_checkpointed
            self.table.refresh()
            self.show_detail()
        self._log_size = max(info.audit_size, self._top + 1)
        self.update_title()
        return self._allowed

    async def _begin(self, client: Client, line: str, filters: AuditFilter) -> None:
        self._turn += 1
        turn = self._turn
        self._goal = None
        top = self._log_size - 1
        self._searching = True
        self.update_title()
        try:
            page = await client.audit(filters, limit=PAGE)
        finally:
            self._searching = False
        if turn != self._turn:
            return
        self._line, self._filters, self._next = line, filters, page.next or None
        self._top = max([top, *(entry.seq for entry in page.entries[:1])])
        self._log_size = max(self._log_size, self._top + 1)
        self.table.replace(page.entries)
        self.table.set_empty_text(NO_MATCH if line else EMPTY)
        self.update_title()
        self.show_detail()

    async def apply_update(self, news: EngineUpdate) -> None:
        if news.durable:
            await self._catch_up()

    def tick(self, now: datetime) -> None:  # noqa: ARG002 - the place's
        """Sealing and refusals are no events: the log is asked."""
        if self._polls and self._allowed and self._line is not None and not self._catching_up:
            self.run_background(self._catch_up(), group="tick")
        self.update_title()

    async def _catch_up(self) -> None:
        """One look at a time, and one more for all that came meanwhile."""
        self._catch_up_again = True
        if self._catching_up:
            return
        self._catching_up = True
        try:
            while self._catch_up_again:
                loop = asyncio.get_running_loop()
                await asyncio.sleep(self._looked_at + PAUSE - loop.time())
                self._catch_up_again = False
                self._looked_at = loop.time()
                await self._look_for_newer(await self.client())
        except Exception:
            # Told once, not each second; reading anew by hand begins again.
            self._polls = False
            raise
        finally:
            self._catching_up = False

    async def _look_for_newer(self, client: Client) -> None:
        if not await self._search(client):
            return
        if self._line is None:
            await self.load()
        elif self._log_size > self._top + 1:
            await self._read_newer(client)

    async def _read_newer(self, client: Client) -> None:
        """All entries since the newest one seen, filtered here: that costs what is new, not the log."""
        turn, top = self._turn, self._top
        newer: list[AuditEntry] = []
        below: int | None = None
        while True:
            page = await client.audit(AuditFilter(), below=below, limit=PAGE)
            if turn != self._turn:
                return
            newer += [entry for entry in page.entries if entry.seq > top]
            below = page.next
            if below is None or below <= top + 1:
                break
            if len(newer) > MAX_CATCH_UP:
                await self._begin(client, self._line or "", self._filters)
                return
        if newer:
            self._top = newer[0].seq
            self._log_size = max(self._log_size, self._top + 1)
            self.table.insert_first(*(entry for entry in newer if self._filters.matches(entry)))
            self.update_title()

    @on(VirtualTable.NearEnd)
    def _near_end(self, event: VirtualTable.NearEnd) -> None:
        if event.last:
            self._load_until(0)
        elif self._next is not None:
            self._begin_older()

    def _load_until(self, seq: int) -> None:
        """Reads on in the background; the cursor goes there in the end, unless it was moved meanwhile."""
        if self._next is None:
            self._on_entry_found(seq)
            return
        self._goal, self._left_at = seq, self.table.cursor_key
        self.update_title()
        self._begin_older()

    def _begin_older(self) -> None:
        """One reads at a time: two would each set where to go on."""
        if not self._reading_older:
            self._reading_older = True
            self.run_background(self._read_older(), group="older")

    async def _read_older(self) -> None:
        turn = self._turn
        try:
            client = await self.client()
            while self._next is not None:
                goal = self._goal
                limit = PAGE if goal is None else LARGE_PAGE
                page = await client.audit(self._filters, below=self._next, limit=limit)
                if turn != self._turn:
                    return
                self.table.extend(page.entries)
                self._next = page.next or None
                self.update_title()
                if self._goal is None or (self._next or 0) <= self._goal:
                    break
            self._end_search()
        finally:
            self._reading_older = False
            if turn == self._turn:
                self._goal = None
            elif self._goal is not None:
                self._begin_older()

    def _end_search(self) -> None:
        goal, self._goal = self._goal, None
        if goal is not None and self.table.cursor_key == self._left_at:
            self._on_entry_found(goal)
        self.update_title()

    def _on_entry_found(self, seq: int) -> None:
        """At the entry; where it is not there, at the one after it."""
        near = [entry for entry in self.table.rows if entry.seq >= seq]
        if near:
            self.table.move_cursor_to(row_key(near[-1]))
        if near and seq and near[-1].seq != seq:
            self.flash(f"There is no entry {seq}: this is the one after it", warning=True)

    def show_entry(self, seq: int) -> None:
        """Without a filter, with the cursor on this entry, however far down it is."""

        self._wanted = seq
        self.set_filter("")
        self.table.focus()
        self.reload()

    def set_filter(self, line: str) -> None:
        """The filter, from elsewhere than the keyboard; :meth:`reload` makes it hold."""
        self.query_one(FilterBar).set_text(line)
        self.save_state(filter=line)

    def reset(self) -> None:
        self._turn += 1
        self._line, self._next, self._goal = None, None, None
        self._top, self._log_size, self._sealed = -1, 0, 0
        self.table.set_empty_text(READING)
        self.table.replace(())
        self.remove_class("-detail")
        self.show_detail()
