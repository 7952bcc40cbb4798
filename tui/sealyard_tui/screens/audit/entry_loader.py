"""Reads the audit log for the list: page by page, newer entries as they are added, and down to a given entry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sealyard.client.protocol import Client
from sealyard.model.access import Action, ResourceType, is_allowed, resource_type_uri
from sealyard.model.audit import AuditEntry, AuditFilter
from sealyard.model.errors import UsageError
from sealyard_tui.screens.audit.entry_format import row_key
from sealyard_tui.screens.audit.filter_syntax import parse_filter
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable

PAGE = 100
LARGE_PAGE = 1000
"""Page size while reading down to an entry or to the end; requests for more are rejected."""

MAX_CATCH_UP = 2000
"""Newer entries up to which they are added to the list; beyond, the list is read from scratch."""

PAUSE = 0.25
"""Seconds between two reads of newer entries, however many events arrive."""

AUDIT_LOG = resource_type_uri(ResourceType.AUDIT_LOG)

READING = "Loading the log …"
EMPTY = "No entries yet."
NO_MATCH = "No entries match the filter. Press Esc to clear it or f to edit it in a form."


class EntryLoader:
    """Keeps the table of the audit screen in step with the log.

    ``on_change`` is called when the rows or the state of reading changed, ``on_access`` with the user when it was
    found out whether they may read the log, ``show_detail`` when what is shown of the current entry changed.
    """

    def __init__(
        self,
        screen: BaseScreen,
        *,
        on_change: Callable[[], None],
        on_access: Callable[[str], None],
        show_detail: Callable[[], None],
    ) -> None:
        self.allowed = True
        self.filter_text: str | None = None
        """The filter of the rows; None before the first page."""
        self.log_size = 0
        self.checkpointed_size = 0
        self.searching = False
        """Whether the first page is being read."""
        self._screen = screen
        self._on_change = on_change
        self._on_access = on_access
        self._show_detail = show_detail
        self._filter = AuditFilter()
        self._generation = 0
        """Counts how often the list was read from scratch; pages requested in an earlier generation are dropped."""
        self._newest = -1
        """The newest entry that was read, matching or not."""
        self._next: int | None = None
        """Where older entries continue; None at the end."""
        self._wanted: int | None = None
        """The entry to select once the list is loaded."""
        self._goal: int | None = None
        """The entry down to which all are being read."""
        self._cursor_at_start: str | None = None
        """The row of the cursor when reading down to the goal began."""
        self._reading_older = False
        self._catching_up = False
        self._catch_up_again = False
        self._last_read = 0.0
        """When newer entries were read last, by the loop's clock."""
        self._polls = True

    @property
    def table(self) -> VirtualTable[AuditEntry]:
        return self._screen.query_one("#entries", VirtualTable)

    @property
    def has_more(self) -> bool:
        return self._next is not None

    @property
    def is_reading_down(self) -> bool:
        """Whether entries are being read down to a goal."""
        return self._goal is not None

    def stop_reading_down(self) -> None:
        self._goal = None
        self._on_change()

    # ---- loading

    async def load(self) -> None:
        """Read the first page; if the list is loaded, only what is newer: entries never change."""
        self._polls = False
        await self._load_list()
        self._polls = True
        wanted, self._wanted = self._wanted, None
        if wanted is not None and self.filter_text is not None:
            self.load_until(wanted)

    async def _load_list(self) -> None:
        text = self._screen.query_one(FilterBar).text
        client = await self._screen.client()
        if not await self._search(client):
            return
        if text == self.filter_text:
            await self._read_newer(client)
            return
        try:
            audit_filter = parse_filter(text, self._screen.now())
        except UsageError as error:
            self._screen.query_one(FilterBar).show_error(error.message)
            if self.filter_text is not None:
                return
            text, audit_filter = "", AuditFilter()
        await self._read_from_scratch(client, text, audit_filter)

    async def _search(self, client: Client) -> bool:
        """Read the size of the log. Returns whether the user may read it: a request without permission is audited."""
        info = await client.workspace()
        self.allowed = is_allowed(info.rights, Action.VIEW, AUDIT_LOG)
        self._on_access(info.subject)
        if not self.allowed:
            self.reset()
            self._show_detail()
        elif info.audit_checkpointed != self.checkpointed_size:
            self.checkpointed_size = info.audit_checkpointed
            self.table.refresh()
            self._show_detail()
        self.log_size = max(info.audit_size, self._newest + 1)
        self._on_change()
        return self.allowed

    async def _read_from_scratch(self, client: Client, text: str, audit_filter: AuditFilter) -> None:
        self._generation += 1
        generation = self._generation
        self._goal = None
        newest = self.log_size - 1
        self.searching = True
        self._on_change()
        try:
            page = await client.audit(audit_filter, limit=PAGE)
        finally:
            self.searching = False
        if generation != self._generation:
            return
        self.filter_text, self._filter, self._next = text, audit_filter, page.next or None
        self._newest = max([newest, *(entry.seq for entry in page.entries[:1])])
        self.log_size = max(self.log_size, self._newest + 1)
        self.table.replace(page.entries)
        self.table.set_empty_text(NO_MATCH if text else EMPTY)
        self._on_change()
        self._show_detail()

    # ---- newer entries

    def poll(self) -> None:
        """Look for newer entries: checkpoints and rejected requests publish no events."""
        if self._polls and self.allowed and self.filter_text is not None and not self._catching_up:
            self._screen.run_background(self.catch_up(), group="tick")

    async def catch_up(self) -> None:
        """Read newer entries, and once more if called meanwhile; never twice at the same time."""
        self._catch_up_again = True
        if self._catching_up:
            return
        self._catching_up = True
        try:
            while self._catch_up_again:
                loop = asyncio.get_running_loop()
                await asyncio.sleep(self._last_read + PAUSE - loop.time())
                self._catch_up_again = False
                self._last_read = loop.time()
                await self._look_for_newer(await self._screen.client())
        except Exception:
            # Report it once, not every second; reloading by hand starts polling again.
            self._polls = False
            raise
        finally:
            self._catching_up = False

    async def _look_for_newer(self, client: Client) -> None:
        if not await self._search(client):
            return
        if self.filter_text is None:
            await self.load()
        elif self.log_size > self._newest + 1:
            await self._read_newer(client)

    async def _read_newer(self, client: Client) -> None:
        """Read all newer entries and filter them here: the cost depends on what is new, not on the log."""
        generation, newest = self._generation, self._newest
        newer: list[AuditEntry] = []
        below: int | None = None
        while True:
            page = await client.audit(AuditFilter(), below=below, limit=PAGE)
            if generation != self._generation:
                return
            newer += [entry for entry in page.entries if entry.seq > newest]
            below = page.next
            if below is None or below <= newest + 1:
                break
            if len(newer) > MAX_CATCH_UP:
                await self._read_from_scratch(client, self.filter_text or "", self._filter)
                return
        if newer:
            self._newest = newer[0].seq
            self.log_size = max(self.log_size, self._newest + 1)
            self.table.insert_first(*(entry for entry in newer if self._filter.matches(entry)))
            self._on_change()

    # ---- older entries

    def load_more(self, *, last: bool) -> None:
        """Read the next page; with ``last`` all pages."""
        if last:
            self.load_until(0)
        elif self._next is not None:
            self._start_reading_older()

    def load_until(self, seq: int) -> None:
        """Read down to an entry in the background, then select it, unless the cursor was moved meanwhile."""
        if self._next is None:
            self._on_entry_found(seq)
            return
        self._goal, self._cursor_at_start = seq, self.table.cursor_key
        self._on_change()
        self._start_reading_older()

    def _start_reading_older(self) -> None:
        """Start a worker, unless one is reading: two would both set where to continue."""
        if not self._reading_older:
            self._reading_older = True
            self._screen.run_background(self._read_older(), group="older")

    async def _read_older(self) -> None:
        generation = self._generation
        try:
            client = await self._screen.client()
            while self._next is not None:
                limit = PAGE if self._goal is None else LARGE_PAGE
                page = await client.audit(self._filter, below=self._next, limit=limit)
                if generation != self._generation:
                    return
                self.table.extend(page.entries)
                self._next = page.next or None
                self._on_change()
                if self._goal is None or (self._next or 0) <= self._goal:
                    break
            self._finish_reading_down()
        finally:
            self._reading_older = False
            if generation == self._generation:
                self._goal = None
            elif self._goal is not None:
                self._start_reading_older()

    def _finish_reading_down(self) -> None:
        goal, self._goal = self._goal, None
        if goal is not None and self.table.cursor_key == self._cursor_at_start:
            self._on_entry_found(goal)
        self._on_change()

    def _on_entry_found(self, seq: int) -> None:
        """Select the entry, or the next newer one if it is not in the list."""
        newer = [entry for entry in self.table.rows if entry.seq >= seq]
        if newer:
            self.table.move_cursor_to(row_key(newer[-1]))
        if newer and seq and newer[-1].seq != seq:
            self._screen.flash(f"Entry {seq} not found; showing the next entry", warning=True)

    def select_after_load(self, seq: int) -> None:
        """Select an entry after the next :meth:`load`, however far down it is."""
        self._wanted = seq

    def reset(self) -> None:
        self._generation += 1
        self.filter_text, self._next, self._goal = None, None, None
        self._newest, self.log_size, self.checkpointed_size = -1, 0, 0
        self.table.set_empty_text(READING)
        self.table.replace(())
