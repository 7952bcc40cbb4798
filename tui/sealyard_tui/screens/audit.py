"""The audit place: the log, newest first, read a page at a time however long it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Static

from sealyard.client.protocol import Client
from sealyard.model.access import Action, ResourceType, may, type_resource
from sealyard.model.audit import AuditEntry, AuditFilter
from sealyard.model.errors import AuditError, SealyardError, UsageError
from sealyard.model.safe_text import safe_text
from sealyard.model.wording import time_text
from sealyard_tui.audit_filter import join_filter, read_filter, split_filter
from sealyard_tui.messages import News
from sealyard_tui.screens.audit_detail import AuditDetail
from sealyard_tui.screens.audit_entry import COLUMNS, UNSEALED, cells_of, hash_of, json_of
from sealyard_tui.screens.dialog import PickDialog, TextDialog
from sealyard_tui.screens.place import Place
from sealyard_tui.widgets.big_table import BigTable, Cell
from sealyard_tui.widgets.filter_bar import FilterBar

PAGE = 100
LARGE_PAGE = 1000
"""While the end, or an entry far down, is looked for; more than a page may have is refused."""

CATCH_UP = 2000
"""Newer entries beyond which the list begins anew rather than takes them all in."""

REST = 0.05
"""Seconds without a move after which the entry under the cursor is shown in full."""

PAUSE = 0.25
"""Seconds between two looks for newer entries, however many events come."""

SHOWN = 40
"""Characters of what can be copied that are seen before."""

ALLOWED = type_resource(ResourceType.AUDIT_LOG)
READING = "Reading the log …"
NOTHING = "Nothing is recorded yet."
NO_MATCH = "No entry matches. Esc clears the filter; f shows it as a form."
KEPT_OUT = (
    "The audit log is not open to you.\n\n"
    "Ask somebody who manages access in this workspace to give you VIEW on RESOURCE_TYPE:AUDIT_LOG, under 6 Access "
    "or by\n\n  sealyard acl add {subject} RESOURCE_TYPE:AUDIT_LOG VIEW\n\n"
    "It opens here by itself then."
)
HINT = "text  type:TASK resource:TASK:… author:owner change:REFUSED since:2h until:2026-11-01"


class Audit(Place):
    PLACE = "audit"
    CSS_PATH = "audit.tcss"
    AUTO_FOCUS = "#entries"
    HELP = (
        "Who did what, when, and what came of it: every creation, decision, use of a key, download, refusal and "
        f"failure, newest first. {UNSEALED} marks entries that no signature covers yet.\n"
        "The filter takes text, and type: resource: author: change: since: until: with a value each, such as "
        "author:owner change:REFUSED since:2h until:2026-11-01; until itself is not included. Verify recomputes the "
        "whole log and checks its signatures."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "form", "Form", id="audit.form", tooltip="The filter as a form"),
        Binding("t", "only_resource", "This resource", id="audit.only_resource", show=False),
        Binding("w", "only_author", "This author", id="audit.only_author", show=False),
        Binding("V", "verify", "Verify", id="audit.verify", tooltip="Recompute the log and check its signatures"),
        Binding("X", "export", "Export", id="audit.export", tooltip="Write the log to a file, as JSON lines or CSV"),
        Binding("y", "copy_hash", "Copy hash", id="audit.copy_hash", tooltip="Number and hash of the entry"),
        Binding("c", "copy", "Copy …", id="audit.copy", tooltip="Choose what to copy", show=False),
        Binding("J", "json", "JSON", id="audit.json", tooltip="The whole entry, for the pager too", show=False),
    ]

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
        self._goal: int | None = None
        """The entry down to which all are being read."""
        self._left_at: str | None = None
        """Where the cursor waits for the goal."""
        self._has_entry = False
        """Whether the cursor is on one."""
        self._detail_timer: Timer | None = None
        self._searching = False
        self._reading_older = False
        self._catching_up = False
        self._catch_up_again = False
        self._looked_at = 0.0
        """When newer ones were looked for, by the loop's clock."""
        self._polls = True

    # ---- the frame

    def compose_place(self) -> ComposeResult:
        yield FilterBar(self.remembered.filter, hint=HINT)
        yield BigTable[AuditEntry](COLUMNS, self._cells, key=_key, empty=READING, id="entries")
        yield Static("", id="kept-out", markup=False)
        yield AuditDetail()
        yield Static("", id="state", markup=False)

    @property
    def table(self) -> BigTable[AuditEntry]:
        return self.query_one("#entries", BigTable)

    def _cells(self, entry: AuditEntry) -> tuple[Cell, ...]:
        return cells_of(entry, self._sealed)

    # ---- reading

    async def load(self) -> None:
        """The first page; where the list is there already, only what is newer: entries never change."""
        self._polls = True
        line = self.query_one(FilterBar).text
        client = await self.client()
        if not await self._look(client):
            return
        if line == self._line:
            await self._read_newer(client)
            return
        try:
            filters = read_filter(line, self.now())
        except UsageError as error:
            self.query_one(FilterBar).say_wrong(error.message)
            if self._line is not None:
                return
            line, filters = "", AuditFilter()
        await self._begin(client, line, filters)

    async def _look(self, client: Client) -> bool:
        """How far the log goes, and whether one may see it: asking for entries without the right is recorded."""
        info = await client.workspace()
        allowed = may(info.rights, Action.VIEW, ALLOWED)
        if allowed is not self._allowed:
            self._allowed = allowed
            self.set_class(not allowed, "-kept-out")
            self.refresh_bindings()
        if not self._allowed:
            self.forget()
            self.query_one("#kept-out", Static).update(Content(KEPT_OUT.format(subject=safe_text(info.subject))))
        elif info.audit_sealed != self._sealed:
            self._sealed = info.audit_sealed
            self.table.refresh()
            self._show_detail()
        self._log_size = max(info.audit_size, self._top + 1)
        self._show_state()
        return self._allowed

    async def _begin(self, client: Client, line: str, filters: AuditFilter) -> None:
        self._turn += 1
        turn = self._turn
        self._goal = None
        top = self._log_size - 1
        self._searching = True
        self._show_state()
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
        self.table.say_when_empty(NO_MATCH if line else NOTHING)
        self._show_state()
        self._show_detail()

    async def take(self, news: News) -> None:
        if news.durable:
            await self._catch_up()

    def tick(self, now: datetime) -> None:  # noqa: ARG002 - the place's
        """Sealing and refusals are no events: the log is asked."""
        if self._polls and self._allowed and self._line is not None and not self._catching_up:
            self.attempt(self._catch_up(), group="tick")
        self._show_state()

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
        except SealyardError:
            # Told once, not each second.
            self._polls = False
            raise
        finally:
            self._catching_up = False

    async def _look_for_newer(self, client: Client) -> None:
        if not await self._look(client):
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
            if len(newer) > CATCH_UP:
                await self._begin(client, self._line or "", self._filters)
                return
        if newer:
            self._top = newer[0].seq
            self._log_size = max(self._log_size, self._top + 1)
            self.table.insert_first(*(entry for entry in newer if self._filters.matches(entry)))
            self._show_state()

    @on(BigTable.NearEnd)
    def _near_end(self, event: BigTable.NearEnd) -> None:
        if event.last:
            self._read_down_to(0)
        elif self._next is not None:
            self._begin_older()

    def _read_down_to(self, seq: int) -> None:
        """Reads on in the background; the cursor goes there in the end, unless it was moved meanwhile."""
        if self._next is None:
            self._arrive(seq)
            return
        self._goal, self._left_at = seq, self.table.cursor_key
        self._show_state()
        self._begin_older()

    def _begin_older(self) -> None:
        """One reads at a time: two would each set where to go on."""
        if not self._reading_older:
            self._reading_older = True
            self.attempt(self._read_older(), group="older")

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
                self._show_state()
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
            self._arrive(goal)
        self._show_state()

    def _arrive(self, seq: int) -> None:
        """At the entry; where it is not there, at the one after it."""
        near = [entry for entry in self.table.rows if entry.seq >= seq]
        if near:
            self.table.go_to(_key(near[-1]))
        if near and seq and near[-1].seq != seq:
            self.flash(f"There is no entry {seq}: this is the one after it", warning=True)

    def show_entry(self, seq: int) -> None:
        """Without a filter, with the cursor on this entry, however far down it is."""

        async def show() -> None:
            client = await self.client()
            if self._line:
                self._set_line("")
                await self._begin(client, "", AuditFilter())
            self.set_focus(self.table)
            self._read_down_to(seq)

        self.attempt(show(), group="load", exclusive=True)

    def forget(self) -> None:
        self._turn += 1
        self._line, self._next, self._goal = None, None, None
        self._top, self._log_size, self._sealed = -1, 0, 0
        self.table.say_when_empty(READING)
        self.table.replace(())
        self.remove_class("-detail")
        self._show_detail()

    # ---- what is shown

    def _show_state(self) -> None:
        shown, more = len(self.table), self._next is not None
        bar = self.query_one(FilterBar)
        if bar.text == self._line:
            bar.show_count(shown, self._log_size, more=more)
        parts = [f"{shown:,} of {self._log_size:,} entries" if more or self._line else f"{self._log_size:,} entries"]
        if self._searching:
            parts.append("looking for what matches …")
        if self._goal is not None:
            parts.append("reading older ones … Esc stops")
        if unsealed := self._log_size - self._sealed:
            parts.append(f"{UNSEALED} {unsealed:,} not yet sealed")
        parts.append(self.freshness())
        text = " · ".join(each for each in parts if each) if self._allowed and self._line is not None else ""
        self.query_one("#state", Static).update(Content(text), layout=False)

    @on(BigTable.Highlighted)
    def _highlighted(self, event: BigTable.Highlighted) -> None:
        """A held key moves on at once; the detail follows where it rests."""
        if self._detail_timer is not None:
            self._detail_timer.stop()
        self._detail_timer = self.set_timer(REST, self._show_detail)
        if self._has_entry is not (event.key is not None):
            self._has_entry = event.key is not None
            self.refresh_bindings()

    def _show_detail(self) -> None:
        self.query_one(AuditDetail).show(self.table.cursor_row, self._sealed)

    @on(BigTable.Chosen)
    def _open_detail(self) -> None:
        self.add_class("-detail")
        self.set_focus(self.query_one(AuditDetail))

    def action_back(self) -> None:
        """One level: the search for older ones, the detail, the filter."""
        if self._goal is not None:
            self._goal = None
            self._show_state()
        elif self.has_class("-detail") or self.query_one(AuditDetail).has_focus:
            self.remove_class("-detail")
            self.set_focus(self.table)
        else:
            super().action_back()

    # ---- narrowing

    @on(FilterBar.Changed)
    def _narrowed(self) -> None:
        self.reload()

    def _set_line(self, line: str) -> None:
        self.query_one(FilterBar).set_text(line)
        self.remember(filter=line)

    def _narrow(self, **parts: str) -> None:
        line = self.query_one(FilterBar).text
        try:
            before = split_filter(line)
        except UsageError:
            before = {}
        self._set_line(join_filter({**before, **parts}))
        self.set_focus(self.table)
        self.reload()

    def action_only_resource(self) -> None:
        if (entry := self.table.cursor_row) is not None:
            self._narrow(resource=entry.resource, type="")

    def action_only_author(self) -> None:
        if (entry := self.table.cursor_row) is not None:
            self._narrow(author=entry.author)

    def action_form(self) -> None:
        from sealyard_tui.screens.audit_form import AuditForm

        def narrow(line: str | None) -> None:
            if line is not None:
                self._set_line(line)
                self.reload()

        self.app.push_screen(AuditForm(self.query_one(FilterBar).text, self.now), narrow)

    # ---- taking away

    def action_copy_hash(self) -> None:
        if (entry := self.table.cursor_row) is not None:
            self._copy(f"{entry.seq} {hash_of(entry)}", "number and hash")

    def action_copy(self) -> None:
        entry = self.table.cursor_row
        if entry is None:
            return
        made: dict[str, Callable[[], str]] = {
            "number and hash": lambda: f"{entry.seq} {hash_of(entry)}",
            "resource": lambda: entry.resource,
            "author": lambda: entry.author,
            "time": lambda: time_text(entry.timestamp),
            "message": lambda: safe_text(entry.message),
            "JSON": lambda: json_of(entry),
        }

        def copy(choice: str | None) -> None:
            if choice is not None:
                self._copy(made[choice](), choice)

        choices = [(name, name if name == "JSON" else f"{name}  {_short(make())}") for name, make in made.items()]
        self.app.push_screen(PickDialog(f"Copy from entry {entry.seq}", choices), copy)

    def _copy(self, text: str, what: str) -> None:
        self.app.copy_to_clipboard(text)
        self.flash(f"Copied: {what}")

    def action_json(self) -> None:
        if (entry := self.table.cursor_row) is not None:
            self.app.push_screen(TextDialog(f"Entry {entry.seq}", json_of(entry), suffix=".json"))

    # ---- the whole log

    def action_verify(self) -> None:
        from sealyard_tui.screens.audit_verify import AuditVerify

        def go(error: AuditError | None) -> None:
            if error is not None and error.seq is not None:
                self.show_entry(error.seq)

        self.app.push_screen(AuditVerify(self._log_size), go)

    def action_export(self) -> None:
        from sealyard_tui.screens.audit_export import AuditExport

        self.app.push_screen(AuditExport(self._log_size))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("form", "verify", "export", "filter"):
            return self._allowed
        if action in ("only_resource", "only_author", "copy_hash", "copy", "json"):
            return (self._has_entry or None) if self._allowed else False
        return super().check_action(action, parameters)


def _short(text: str) -> str:
    return f"{text[:SHOWN]}…" if len(text) > SHOWN else text


def _key(entry: AuditEntry) -> str:
    return str(entry.seq)
