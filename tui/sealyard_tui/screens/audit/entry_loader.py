"""Loads the audit log into the list: page by page, new entries as they are added, and older ones down to an entry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sealyard.client.protocol import Client
from sealyard.model.access import Action, ResourceType, is_allowed, resource_type_uri
from sealyard.model.audit import AuditEntry, AuditFilter
from sealyard.model.errors import UsageError
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.screens.audit.entry_format import row_key
from sealyard_tui.screens.audit.filter_syntax import parse_filter
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable

PAGE_SIZE = 100
LARGE_PAGE_SIZE = 1000
"""Page size while reading down to an entry; the engine rejects a larger one."""

MAX_NEW_ENTRIES = 2000
"""Maximum number of new entries that are added to the list; if there are more, the list is read from scratch."""

READ_INTERVAL = 0.25
"""Minimum number of seconds between two requests for new entries."""

AUDIT_LOG = resource_type_uri(ResourceType.AUDIT_LOG)

LOADING_TEXT = "Loading the log …"
EMPTY_TEXT = "No entries yet."
NO_MATCH_TEXT = (
    "No entries match the filter. Press {key[screen.back]} to clear it or {key[audit.form]} to edit it in a form."
)


class EntryLoader:
    """Loads entries into the table of the audit screen, and keeps it up to date.

    ``on_change`` is called when the rows or the progress of loading have changed. ``on_access`` is called with the
    identity of the user when :attr:`can_view` was read. ``show_detail`` is called when the detail must be updated.
    """

    def __init__(
        self,
        screen: BaseScreen,
        *,
        on_change: Callable[[], None],
        on_access: Callable[[str], None],
        show_detail: Callable[[], None],
    ) -> None:
        self.can_view = True
        """Whether the user has permission to view the log."""
        self.filter_text: str | None = None
        """The filter of the rows; None until the first page is loaded."""
        self.log_size = 0
        self.checkpointed_size = 0
        self.is_searching = False
        """Whether the first page is being read."""
        self._screen = screen
        self._on_change = on_change
        self._on_access = on_access
        self._show_detail = show_detail
        self._filter = AuditFilter()
        self._generation = 0
        """Incremented whenever the list is read from scratch; pages requested before that are dropped."""
        self._newest_seq = -1
        """Sequence number of the newest entry that was read, whether it matches the filter or not."""
        self._next_seq: int | None = None
        """Start of the next page of older entries; None if all are loaded."""
        self._selection_seq: int | None = None
        """Sequence number of the entry to select after the next :meth:`load`."""
        self._target_seq: int | None = None
        """Sequence number of the entry down to which older entries are being read."""
        self._start_key: str | None = None
        """Row of the cursor when reading down to the target was started."""
        self._is_reading_older = False
        self._is_catching_up = False
        self._needs_catch_up = False
        self._last_read = 0.0
        """Time of the last request for new entries, by the clock of the event loop."""
        self._is_polling = True

    @property
    def table(self) -> VirtualTable[AuditEntry]:
        return self._screen.query_one("#entries", VirtualTable)

    @property
    def has_more(self) -> bool:
        return self._next_seq is not None

    @property
    def is_reading_down(self) -> bool:
        """Whether older entries are being read down to a target."""
        return self._target_seq is not None

    def stop_reading_down(self) -> None:
        self._target_seq = None
        self._on_change()

    # ---- loading

    async def load(self) -> None:
        """Read the first page. If the list is loaded, read new entries only, because entries never change."""
        self._is_polling = False
        await self._load_list()
        self._is_polling = True
        seq, self._selection_seq = self._selection_seq, None
        if seq is not None and self.filter_text is not None:
            self.load_until(seq)

    async def _load_list(self) -> None:
        text = self._screen.query_one(FilterBar).text
        client = await self._screen.client()
        if not await self._load_log_state(client):
            return
        if text == self.filter_text:
            await self._read_new_entries(client)
            return
        try:
            audit_filter = parse_filter(text, self._screen.now())
        except UsageError as error:
            self._screen.query_one(FilterBar).show_error(error.message)
            if self.filter_text is not None:
                return
            text, audit_filter = "", AuditFilter()
        await self._read_from_scratch(client, text, audit_filter)

    async def _load_log_state(self, client: Client) -> bool:
        """Read the size of the log and whether the user can view it.

        Returns :attr:`can_view`. Entries must not be requested without permission, because such requests are audited.
        """
        info = await client.workspace()
        self.can_view = is_allowed(info.rights, Action.VIEW, AUDIT_LOG)
        self._on_access(info.subject)
        if not self.can_view:
            self.reset()
            self._show_detail()
        elif info.audit_checkpointed != self.checkpointed_size:
            self.checkpointed_size = info.audit_checkpointed
            self.table.refresh()
            self._show_detail()
        self.log_size = max(info.audit_size, self._newest_seq + 1)
        self._on_change()
        return self.can_view

    async def _read_from_scratch(self, client: Client, text: str, audit_filter: AuditFilter) -> None:
        self._generation += 1
        generation = self._generation
        self._target_seq = None
        newest_seq = self.log_size - 1
        self.is_searching = True
        self._on_change()
        try:
            page = await client.audit(audit_filter, limit=PAGE_SIZE)
        finally:
            self.is_searching = False
        if generation != self._generation:
            return
        self.filter_text, self._filter, self._next_seq = text, audit_filter, page.next or None
        self._newest_seq = max([newest_seq, *(entry.seq for entry in page.entries[:1])])
        self.log_size = max(self.log_size, self._newest_seq + 1)
        self.table.replace(page.entries)
        self.table.set_empty_text(insert_keys(self._screen.app, NO_MATCH_TEXT) if text else EMPTY_TEXT)
        self._on_change()
        self._show_detail()

    # ---- new entries

    def poll(self) -> None:
        """Read new entries in the background: checkpoints and rejected requests publish no events."""
        if self._is_polling and self.can_view and self.filter_text is not None and not self._is_catching_up:
            self._screen.run_background(self.catch_up(), group="tick")

    async def catch_up(self) -> None:
        """Read new entries. A call during another one makes that one read again, and returns immediately."""
        self._needs_catch_up = True
        if self._is_catching_up:
            return
        self._is_catching_up = True
        try:
            while self._needs_catch_up:
                loop = asyncio.get_running_loop()
                await asyncio.sleep(self._last_read + READ_INTERVAL - loop.time())
                self._needs_catch_up = False
                self._last_read = loop.time()
                await self._load_new_entries(await self._screen.client())
        except Exception:
            # Stop polling, so that the error is reported once and not every second. A reload starts polling again.
            self._is_polling = False
            raise
        finally:
            self._is_catching_up = False

    async def _load_new_entries(self, client: Client) -> None:
        if not await self._load_log_state(client):
            return
        if self.filter_text is None:
            await self.load()
        elif self.log_size > self._newest_seq + 1:
            await self._read_new_entries(client)

    async def _read_new_entries(self, client: Client) -> None:
        """Read all new entries and filter them here: the cost depends on their number, not on the size of the log."""
        generation, newest_seq = self._generation, self._newest_seq
        new_entries: list[AuditEntry] = []
        before_seq: int | None = None
        while True:
            page = await client.audit(AuditFilter(), below=before_seq, limit=PAGE_SIZE)
            if generation != self._generation:
                return
            new_entries += [entry for entry in page.entries if entry.seq > newest_seq]
            before_seq = page.next
            if before_seq is None or before_seq <= newest_seq + 1:
                break
            if len(new_entries) > MAX_NEW_ENTRIES:
                await self._read_from_scratch(client, self.filter_text or "", self._filter)
                return
        if new_entries:
            self._newest_seq = new_entries[0].seq
            self.log_size = max(self.log_size, self._newest_seq + 1)
            self.table.insert_first(*(entry for entry in new_entries if self._filter.matches(entry)))
            self._on_change()

    # ---- older entries

    def load_more(self, *, last: bool) -> None:
        """Read the next page of older entries in the background. ``last``: read all pages."""
        if last:
            self.load_until(0)
        elif self._next_seq is not None:
            self._start_reading_older()

    def load_until(self, seq: int) -> None:
        """Read down to an entry in the background. Select it, unless the cursor was moved meanwhile."""
        if self._next_seq is None:
            self._select_entry(seq)
            return
        self._target_seq, self._start_key = seq, self.table.cursor_key
        self._on_change()
        self._start_reading_older()

    def _start_reading_older(self) -> None:
        """Start a worker unless one is running: two would read the same pages."""
        if not self._is_reading_older:
            self._is_reading_older = True
            self._screen.run_background(self._read_older_entries(), group="older")

    async def _read_older_entries(self) -> None:
        generation = self._generation
        try:
            client = await self._screen.client()
            while self._next_seq is not None:
                limit = PAGE_SIZE if self._target_seq is None else LARGE_PAGE_SIZE
                page = await client.audit(self._filter, below=self._next_seq, limit=limit)
                if generation != self._generation:
                    return
                self.table.extend(page.entries)
                self._next_seq = page.next or None
                self._on_change()
                if self._target_seq is None or (self._next_seq or 0) <= self._target_seq:
                    break
            self._finish_reading_down()
        finally:
            self._is_reading_older = False
            if generation == self._generation:
                self._target_seq = None
            elif self._target_seq is not None:
                self._start_reading_older()

    def _finish_reading_down(self) -> None:
        target_seq, self._target_seq = self._target_seq, None
        if target_seq is not None and self.table.cursor_key == self._start_key:
            self._select_entry(target_seq)
        self._on_change()

    def _select_entry(self, seq: int) -> None:
        """Select the entry, or the next newer one if the list does not contain it."""
        candidates = [entry for entry in self.table.rows if entry.seq >= seq]
        if candidates:
            self.table.move_cursor_to(row_key(candidates[-1]))
        if candidates and seq and candidates[-1].seq != seq:
            self._screen.flash(f"Entry {seq} not found; showing the next entry", warning=True)

    def select_after_load(self, seq: int) -> None:
        """Select an entry after the next :meth:`load`, however far down it is."""
        self._selection_seq = seq

    def reset(self) -> None:
        self._generation += 1
        self.filter_text, self._next_seq, self._target_seq = None, None, None
        self._newest_seq, self.log_size, self.checkpointed_size = -1, 0, 0
        self.table.set_empty_text(LOADING_TEXT)
        self.table.replace(())
