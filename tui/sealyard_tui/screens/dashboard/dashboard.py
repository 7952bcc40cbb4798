"""The dashboard place: all tasks as they stand, what came of them, and what one can do about them."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.content import Content
from textual.timer import Timer

from sealyard.client.downloads.events import DownloadProgress, DownloadResult, VerifiedBy
from sealyard.model.access import Action
from sealyard.model.errors import NotFoundError, UsageError
from sealyard.model.safe_text import escape_text
from sealyard_tui.screens.dashboard.acts import Possible, TaskActs
from sealyard_tui.screens.dashboard.head import DashboardHead
from sealyard_tui.screens.dashboard.list import TaskList
from sealyard_tui.screens.dashboard.rows import COLUMNS, RowCells
from sealyard_tui.screens.dashboard.task_filter import ME, field_of, read_filter, with_fields
from sealyard_tui.screens.dashboard.task_pane import TaskPane
from sealyard_tui.screens.dashboard.task_row import Order, TaskRow
from sealyard_tui.screens.dashboard.throughput import Throughput
from sealyard_tui.screens.dialogs.dialog import PickDialog
from sealyard_tui.screens.dialogs.downloads import DownloadsDialog
from sealyard_tui.screens.place import Place
from sealyard_tui.session.messages import News
from sealyard_tui.session.standing import Standing
from sealyard_tui.widgets.big_table import BigTable
from sealyard_tui.widgets.filter_bar import FilterBar

LOOK_SECONDS = 0.12
"""How long the cursor rests on a row before its detail is read."""

DETAIL = "-detail"
"""The class of the screen while the detail was asked for where there is no room for both."""

NO_TASKS = "No tasks yet: n asks for the first package."
NO_TASKS_OF_MINE = "No tasks yet: people who have USE on a device configuration (5) ask for them."
NO_MATCH = "Nothing matches the filter: Esc clears it."

QUICK = (
    ("", "", "all"),
    ("status", "waiting", "waiting for approval"),
    ("status", "running", "running"),
    ("status", "queued", "in the queue"),
    ("status", "done", "done"),
    ("status", "failed", "failed"),
    ("status", "cancelled", "cancelled, rejected or withdrawn"),
    ("state", "available", "results that can be downloaded"),
    ("state", "expired", "results whose link expired"),
    ("state", "gone", "results that are gone"),
)
"""Field, value and words of the quick filters."""


class Dashboard(Place):
    PLACE = "dashboard"
    CSS_PATH = "dashboard.tcss"
    AUTO_FOCUS = "#rows"
    HELP = (
        "All tasks you may see, as they move. Filter with / by words or by fields: status:waiting state:expired "
        'owner:me kind:packaging device:gateway. - or ! before a term turns it round; "double quotes" hold spaces '
        "and colons. Of results, ↓ can be downloaded, ! has an expired link that e renews, and of ∅ the file is gone: "
        "only a new package helps."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "download", "Download", id="dashboard.download", tooltip="The result, now"),
        Binding("e", "renew", "Renew", id="dashboard.renew", tooltip="A new link for an expired result"),
        Binding("w", "withdraw", "Withdraw", id="dashboard.withdraw", tooltip="Take your own request back"),
        Binding("x", "cancel", "Cancel", id="dashboard.cancel", tooltip="End the task, running or not"),
        Binding("n", "new", "New", id="dashboard.new", tooltip="Ask for a package"),
        Binding("s", "pick_status", "Status", id="dashboard.status", show=False, tooltip="Show one status or state"),
        Binding("m", "mine", "Mine or all", id="dashboard.mine", show=False, tooltip="Only your own tasks, or all"),
        Binding("o", "pick_order", "Order", id="dashboard.order", show=False, tooltip="Newest, oldest, by name …"),
        Binding("f", "folder", "Open folder", id="dashboard.folder", show=False, tooltip="Where the file lies"),
        Binding("c", "copy", "Copy …", id="dashboard.copy", show=False, tooltip="Id, SHA-256, path or link"),
        Binding("y", "copy_id", "Copy id", id="dashboard.copy_id", show=False, tooltip="At once"),
        Binding("J", "json", "As JSON", id="dashboard.json", show=False, tooltip="The whole task as it is kept"),
        Binding("L", "downloads", "Downloads", id="dashboard.downloads", show=False, tooltip="Those of this session"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._line = ""
        self._tasks_in_all: int | None = None
        self._looking: Timer | None = None
        self._possible = Possible()
        self._acts = TaskActs(self)

    def compose_place(self) -> ComposeResult:
        yield DashboardHead()
        yield FilterBar(self.remembered.filter, hint="words, status:waiting, state:expired, owner:me, device:gateway")
        with Container(id="both"):
            yield BigTable[TaskRow](
                COLUMNS,
                RowCells(self.now, self.mark_of, lambda: self.standing.identity),
                key=lambda row: row.id,
                empty="Reading the tasks …",
                markable=True,
                id="rows",
            )
            yield TaskPane()

    def on_mount(self) -> None:
        self._throughput = Throughput(self.now())
        self._list = TaskList(self.table, self.client, self._told)
        view = self.remembered
        self._line = view.filter
        if view.sort in [*Order]:
            self._list.order = Order(view.sort)
        self.head.show_throughput(self._throughput)
        self.set_focus(self.table)

    @property
    def table(self) -> BigTable[TaskRow]:
        return self.query_one("#rows", BigTable)

    @property
    def pane(self) -> TaskPane:
        return self.query_one(TaskPane)

    @property
    def head(self) -> DashboardHead:
        return self.query_one(DashboardHead)

    @property
    def filter_bar(self) -> FilterBar:
        return self.query_one(FilterBar)

    def mark_of(self, task_id: str) -> DownloadProgress | DownloadResult | VerifiedBy | None:
        """What is known of a task's download, from this session or an earlier one."""
        if (known := self.sealyard.downloads.known.get(task_id)) is not None:
            return known
        downloading = self.sealyard.downloads.downloading
        found = downloading.downloaded(task_id) if downloading is not None else None
        return found.checked if found is not None else None

    def path_of(self, task_id: str) -> str | None:
        """Where the task's file lies, if it came down."""
        known = self.sealyard.downloads.known.get(task_id)
        if isinstance(known, DownloadResult) and known.downloaded is not None:
            return known.downloaded.path
        downloading = self.sealyard.downloads.downloading
        found = downloading.downloaded(task_id) if downloading is not None else None
        return found.path if found is not None else None

    # ---- what is shown

    async def load(self) -> None:
        await self._understand()
        await self._count()
        self.table.say_when_empty(self._why_empty())
        await self._list.load()
        if self.pane.task_id:
            await self._read_detail(self.pane.task_id)

    def _why_empty(self) -> str:
        if self._line:
            return NO_MATCH
        return NO_TASKS if self.check_action("new", ()) else NO_TASKS_OF_MINE

    async def take(self, news: News) -> None:
        now = self.now()
        self._throughput.add(news.progress.values(), now)
        for change in news.tasks.values():
            if change.status.is_final:
                self._throughput.ended(change.task_id)
        if news.gap or any(each.startswith(("ACL", "SUBJECT")) for each in news.resources):
            await self.load()
            return
        if await self._list.take(news) is not None:
            await self._count()
        if self.pane.task_id in news.tasks:
            await self._read_detail(self.pane.task_id)
        elif self.pane.task_id in news.progress:
            self._show_detail_again()

    def tick(self, now: datetime) -> None:
        self._throughput.move_on(now)
        self.head.show_throughput(self._throughput)
        self.table.refresh()
        self._show_title()
        self._show_detail_again()

    def forget(self) -> None:
        self._list.forget()
        self.table.say_when_empty("Reading the tasks …")
        self.pane.clear()
        self.remove_class(DETAIL)

    async def _count(self) -> None:
        counts = await (await self.client()).counts()
        self._tasks_in_all = counts.total
        self.head.show_counts(counts)
        self._show_title()

    def _told(self) -> None:
        self._show_title()
        self._see_what_is_possible()

    def _show_title(self) -> None:
        if not self._list.begun:
            return
        shown, total = len(self.table), self._list.total
        rest = self._tasks_in_all
        count = f"{shown:,} of {total:,}" if total is not None and total != shown else f"{shown:,}"
        more = "+" if total is None else ""
        order = self._list.order
        partly = f" (of the {shown:,} read)" if not order.by_engine and not self._list.complete else ""
        reading = f"reading, {self._list.looked_at:,} looked at" if self._list.reading else self.freshness()
        self.head.show_title([f"{count}{more} tasks", f"{order.words}{partly}", reading])
        if self._line and self._line == self.filter_bar.text:
            self.filter_bar.show_count(shown if total is None else total, rest, more=total is None)

    def _downloads(self, nothing: None) -> None:
        super()._downloads(nothing)
        self.table.refresh()
        self._show_detail_again()

    def _stand(self, standing: Standing) -> None:
        super()._stand(standing)
        self._see_what_is_possible()
        if self._tasks_in_all is not None:
            self.table.say_when_empty(self._why_empty())

    # ---- filter and order

    @on(FilterBar.Changed)
    def _filter_changed(self, event: FilterBar.Changed) -> None:
        self._filter_by(event.text)

    def _filter_by(self, line: str) -> None:
        """A line that is not understood is told beside it, and the list stays."""
        try:
            query = read_filter(line, self.standing.identity)
        except UsageError as error:
            self.filter_bar.say_wrong(escape_text(error.message))
            return
        self._line = line
        self._list.narrow(query)
        self.remember(filter=line)
        self.reload()

    async def _understand(self) -> None:
        """The filter again, for who one is now and with the configurations there are."""
        devices = await (await self.client()).devices() if "device:" in self._line.lower() else ()
        try:
            self._list.query = read_filter(self._line, self.standing.identity, {each.name: each.id for each in devices})
        except UsageError as error:
            self._line = ""
            self.filter_bar.say_wrong(escape_text(error.message))

    def _set_fields(self, **values: str) -> None:
        line = with_fields(self.filter_bar.text, values)
        self.filter_bar.set_text(line)
        self._filter_by(line)

    def action_pick_status(self) -> None:
        line = self.filter_bar.text
        now = next((f"{field}:{value}" for field, value, _ in QUICK if field and field_of(line, field) == value), ":")
        choices = [(f"{field}:{value}", words) for field, value, words in QUICK]
        self.app.push_screen(PickDialog("Show", choices, now), self._picked_status)

    def _picked_status(self, picked: str | None) -> None:
        if picked is not None:
            field, _, value = picked.partition(":")
            self._set_fields(**{"status": "", "state": "", **({field: value} if field else {})})

    def action_mine(self) -> None:
        mine = field_of(self.filter_bar.text, "owner") == ME
        self._set_fields(owner="" if mine else ME)
        self.flash("All tasks" if mine else "Your own tasks")

    def action_pick_order(self) -> None:
        choices = [(str(each), each.words if each.by_engine else f"{each.words}, of what was read") for each in Order]
        self.app.push_screen(PickDialog("Order", choices, self._list.order), self._picked_order)

    def _picked_order(self, picked: str | None) -> None:
        if picked is not None:
            self._list.order_by(Order(picked))
            self.remember(sort=picked)
            self.reload()

    @on(BigTable.NearEnd)
    def _near_end(self, event: BigTable.NearEnd) -> None:
        if self._list.wants_more(last=event.last):
            self.read(self._list.read_on(len(self.table) + 1), group="load")

    # ---- the detail

    @property
    def _pane_seen(self) -> bool:
        return self.pane.display

    @on(BigTable.Highlighted)
    def _looked_at(self, event: BigTable.Highlighted) -> None:
        self._see_what_is_possible()
        if event.key is None:
            self.pane.clear()
        self._look_soon()

    @on(BigTable.Chosen)
    def _opened(self) -> None:
        self.add_class(DETAIL)
        self.call_after_refresh(self.pane.focus)
        self._look()

    def on_resize(self) -> None:
        """There may be room for the pane only now."""
        self.call_after_refresh(self._look_soon)

    def _look_soon(self) -> None:
        if self._looking is not None:
            self._looking.stop()
        if self._pane_seen and self.pane.task_id != (self.table.cursor_key or ""):
            self._looking = self.set_timer(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if (task_id := self.table.cursor_key) is not None:
            self.read(self._read_detail(task_id), group="detail", exclusive=True)

    async def _read_detail(self, task_id: str) -> None:
        try:
            task = await (await self.client()).task(task_id)
        except NotFoundError:
            self.pane.clear()
            return
        if task_id == self.table.cursor_key:
            row = self.table.row(task_id)
            self.pane.show(task, self.now(), live=row.live if row is not None else None, file=self._file_words(task_id))

    def _show_detail_again(self) -> None:
        """With the time that went by since."""
        pane = self.pane
        if pane.task_shown is not None and self._pane_seen:
            row = self.table.row(pane.task_id)
            live = row.live if row is not None else None
            pane.show(pane.task_shown, self.now(), live=live, file=self._file_words(pane.task_id))

    def _file_words(self, task_id: str) -> Content:
        row = self.table.row(task_id)
        words = RowCells(self.now, self.mark_of, lambda: self.standing.identity).mark(row)[1] if row else Content("")
        path = self.path_of(task_id)
        return Content.assemble(words, f"  {escape_text(path)}") if path is not None else words

    def action_back(self) -> None:
        if self.has_class(DETAIL) or self.pane.has_focus:
            self.remove_class(DETAIL)
            self.set_focus(self.table)
            return
        super().action_back()

    def show_task(self, task_id: str) -> None:
        """Puts the cursor on a task and opens its detail, on whichever page it is."""
        self.attempt(self._show_task(task_id))

    async def _show_task(self, task_id: str) -> None:
        row = await self._list.invite(task_id)
        self.table.go_to(row.id)
        self._opened()

    # ---- acts

    def _see_what_is_possible(self) -> None:
        """The keys below are drawn anew only where they change: the cursor moves fast."""
        now = self._acts.possible(self.table.cursor_row)
        if now != self._possible:
            self._possible = now
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        writable = self.standing.writable
        match action:
            case "withdraw" | "cancel" | "renew" if not writable:
                return False
            case "download" | "downloads" if self.sealyard.downloads.folder is None:
                return False
            case "new":
                return writable and any(each is Action.USE for _, each in self.standing.rights)
            case "withdraw" | "cancel" | "renew" | "download" | "folder":
                # The keys are also asked for before the list is there.
                marked = any(each.marked for each in self.query(BigTable))
                return True if getattr(self._possible, action) or marked else None
        return super().check_action(action, parameters)

    def action_withdraw(self) -> None:
        self._acts.withdraw()

    def action_cancel(self) -> None:
        self._acts.cancel()

    def action_renew(self) -> None:
        self._acts.renew()

    def action_download(self) -> None:
        self._acts.download()

    def action_folder(self) -> None:
        self._acts.open_folder()

    def action_copy(self) -> None:
        self._acts.copy()

    def action_copy_id(self) -> None:
        self._acts.copy_id()

    def action_json(self) -> None:
        self._acts.show_json()

    def action_new(self) -> None:
        self.sealyard.action_go("upload")

    def action_downloads(self) -> None:
        self.app.push_screen(DownloadsDialog(), self._picked_download)

    def _picked_download(self, task_id: str | None) -> None:
        if task_id is not None:
            self.show_task(task_id)
