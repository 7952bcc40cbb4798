"""Loader for the list of audit entries.

It reads pages on demand, new entries as they are added, and older entries until a given entry is reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from sealyard.client.protocol import Client
from sealyard.model.access import Action, ResourceType, is_allowed, resource_type_uri
from sealyard.model.audit import AuditEntry, AuditFilter
from sealyard.model.errors import UsageError
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.fuzzy import find_matches
from sealyard_tui.screens.audit.entry_format import row_key
from sealyard_tui.screens.audit.filter_syntax import parse_filter
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable

PAGE_SIZE = 100
LARGE_PAGE_SIZE = 1000
"""Page size for reading many older entries until a target is reached; the engine rejects larger pages."""

MAX_NEW_ENTRIES = 2000
"""Maximum number of new entries to add to the list; if there are more, the list is reloaded from scratch."""

READ_INTERVAL = 0.25
"""Minimum interval in seconds between requests for new entries."""

AUDIT_LOG = resource_type_uri(ResourceType.AUDIT_LOG)

LOADING_TEXT = "Loading the log …"
EMPTY_TEXT = "No entries yet."
INVALID_FILTER_TEXT = (
    "The filter is invalid, see above.\nPress {key[screen.back]} to clear it or {key[audit.form]} to edit it in a form."
)
NO_MATCH_TEXT = (
    "No entries match the filter.\nPress {key[screen.back]} to clear it or {key[audit.form]} to edit it in a form."
)


class EntryLoader:
    """Loader that fills the table of the audit screen with entries and keeps it up to date.

    ``on_change`` is called when the rows or the loading progress have changed. ``on_access`` is called with the
    user's identity when :attr:`can_view` has been updated. ``show_detail`` is called when the detail pane must be
    updated. ``get_shown_text`` returns the text of a row's cells.

    The engine searches the whole log for the text of the filter. If nothing matches, the newest entries are searched
    for rows that contain its words or similar ones.
    """

    def __init__(
        self,
        screen: BaseScreen,
        *,
        on_change: Callable[[], None],
        on_access: Callable[[str], None],
        show_detail: Callable[[], None],
        get_shown_text: Callable[[AuditEntry], str],
    ) -> None:
        self.can_view = True
        """Whether the user has permission to view the log."""
        self.filter_text: str | None = None
        """Filter that the rows match; None until the first page has been loaded."""
        self.log_size = 0
        self.checkpointed_size = 0
        self.is_searching = False
        """Whether the first page is being read."""
        self._screen = screen
        self._on_change = on_change
        self._on_access = on_access
        self._show_detail = show_detail
        self._get_shown_text = get_shown_text
        self.is_similar = False
        """Whether the rows contain only words that are similar to those of the filter."""
        self.has_exact_rows = True
        """Whether the rows match the filter as the engine applies it."""
        self._filter = AuditFilter()
        self._generation = 0
        """Incremented whenever the list is reset or reloaded; pages requested earlier are discarded."""
        self._newest_seq = -1
        """Sequence number of the newest entry that was read, whether or not it matches the filter."""
        self._next_seq: int | None = None
        """Sequence number below which the next page of older entries begins; None if all have been loaded."""
        self._selection_seq: int | None = None
        """Sequence number of the entry to select after the next :meth:`load`."""
        self._target_seq: int | None = None
        """Sequence number of the entry at which to stop reading older entries; None if there is no target."""
        self._start_key: str | None = None
        """Key of the row that was under the cursor when :attr:`_target_seq` was set."""
        self._is_reading_older = False
        self._is_catching_up = False
        self._needs_catch_up = False
        self._last_read = 0.0
        """Time of the last request for new entries, in event loop time."""
        self._is_polling = True

    @property
    def table(self) -> VirtualTable[AuditEntry]:
        return self._screen.query_one("#entries", VirtualTable)

    @property
    def filters(self) -> AuditFilter | None:
        """The filter that the rows match, or None if the list shows all entries."""
        return self._filter if self.filter_text else None

    @property
    def has_more(self) -> bool:
        return self._next_seq is not None

    @property
    def is_reading_down(self) -> bool:
        """Whether older entries are being read until a target entry is reached."""
        return self._target_seq is not None

    def stop_reading_down(self) -> None:
        self._target_seq = None
        self._on_change()

    # ---- loading

    async def load(self) -> None:
        """Load the first page or, if the filter is unchanged, only new entries, because entries never change."""
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
            self._show_filter_error(error)
            return
        await self._read_from_scratch(client, text, audit_filter)

    def _show_filter_error(self, error: UsageError) -> None:
        """Show the error beside the filter and an empty list, so that the entries of another filter do not stay."""
        self._generation += 1
        self.filter_text, self._next_seq, self._target_seq = None, None, None
        self._screen.query_one(FilterBar).show_error(error.message)
        self.table.set_empty_text(insert_keys(self._screen.app, INVALID_FILTER_TEXT))
        self.table.replace(())
        self._on_change()

    async def _load_log_state(self, client: Client) -> bool:
        """Update the size of the log and whether the user can view it; return :attr:`can_view`.

        The caller must not request entries without permission, because such requests are audited.
        """
        info = await client.workspace()
        self.can_view = is_allowed(info.rights, Action.VIEW, AUDIT_LOG)
        if not self.can_view:
            self.reset()
        self._on_access(info.subject)
        if not self.can_view:
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
            entries, is_similar = list(page.entries), False
            if not entries and audit_filter.text:
                entries, is_similar = await self._find_in_newest(client, audit_filter)
        finally:
            self.is_searching = False
        if generation != self._generation:
            return
        self.is_similar, self.has_exact_rows = is_similar, bool(page.entries) or not entries
        self.filter_text, self._filter, self._next_seq = text, audit_filter, page.next or None
        self._newest_seq = max([newest_seq, *(entry.seq for entry in entries[:1])])
        self.log_size = max(self.log_size, self._newest_seq + 1)
        self.table.replace(entries)
        self.table.set_empty_text(insert_keys(self._screen.app, NO_MATCH_TEXT) if text else EMPTY_TEXT)
        self._on_change()
        self._show_detail()

    async def _find_in_newest(self, client: Client, audit_filter: AuditFilter) -> tuple[list[AuditEntry], bool]:
        """Return the newest entries whose rows contain the words of the filter or, if there are none, similar words.

        Also returns whether the words are only similar. The newest entry is first.
        """
        page = await client.audit(msgspec.structs.replace(audit_filter, text=""), limit=LARGE_PAGE_SIZE)
        matches, is_similar = find_matches(page.entries, audit_filter.text, self._get_shown_text)
        return sorted(matches, key=lambda entry: entry.seq, reverse=True), is_similar

    # ---- new entries

    def poll(self) -> None:
        """Start reading new entries in the background.

        Events are not sufficient, because none are published for checkpoints and rejected requests.
        """
        if self._is_polling and self.can_view and self.filter_text is not None and not self._is_catching_up:
            self._screen.run_background(self.catch_up(), group="tick")

    async def catch_up(self) -> None:
        """Read new entries. If a call is already running, make it read once more and return immediately."""
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
            # Stop polling, so that the error is reported once instead of every second. Reloading starts polling again.
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
        """Read all new entries and filter them locally, so that the cost does not depend on the size of the log."""
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
            matches = [entry for entry in new_entries if self._filter.matches(entry)]
            if matches and not self.has_exact_rows:
                await self._read_from_scratch(client, self.filter_text or "", self._filter)
                return
            self.table.insert_first(*matches)
            self._on_change()

    # ---- older entries

    def load_more(self, *, last: bool) -> None:
        """Read the next page of older entries in the background. ``last``: whether to read all remaining pages."""
        if last:
            self.load_until(0)
        elif self._next_seq is not None:
            self._start_reading_older()

    def load_until(self, seq: int) -> None:
        """Read older entries in the background until the entry with number ``seq`` is reached, and select it.

        The entry is not selected if the cursor moves in the meantime.
        """
        if self._next_seq is None:
            self._select_entry(seq)
            return
        self._target_seq, self._start_key = seq, self.table.cursor_key
        self._on_change()
        self._start_reading_older()

    def _start_reading_older(self) -> None:
        """Start a worker that reads older entries, unless one is running: two workers would read the same pages."""
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
        """Select an entry. If it is not in the list, select the next newer one and show a warning."""
        candidates = [entry for entry in self.table.rows if entry.seq >= seq]
        if not candidates:
            self._screen.flash(f"Entry {seq} not found", warning=True)
            return
        self.table.move_cursor_to(row_key(candidates[-1]))
        if seq and candidates[-1].seq != seq:
            self._screen.flash(f"Entry {seq} not found; showing the next entry", warning=True)

    def select_after_load(self, seq: int) -> None:
        """Make the next call to :meth:`load` select an entry, loading older entries as needed."""
        self._selection_seq = seq

    def reset(self) -> None:
        self._generation += 1
        self.filter_text, self._next_seq, self._target_seq = None, None, None
        self._newest_seq, self.log_size, self.checkpointed_size = -1, 0, 0
        self.is_similar, self.has_exact_rows = False, True
        self.table.set_empty_text(LOADING_TEXT)
        self.table.replace(())
