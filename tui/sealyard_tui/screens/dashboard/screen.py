"""The dashboard screen: all tasks, their results, and actions on them."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from sealyard.model.access import Action
from sealyard.model.requests import TaskCounts
from sealyard_tui.action_keys import action_keys, insert_keys
from sealyard_tui.messages import ShowScreen
from sealyard_tui.screens.dashboard.actions import AvailableActions, TaskActions
from sealyard_tui.screens.dashboard.columns import COLUMNS, RowRenderer
from sealyard_tui.screens.dashboard.counts_loader import CountsLoader
from sealyard_tui.screens.dashboard.detail_loader import DetailLoader
from sealyard_tui.screens.dashboard.downloads_dialog import DownloadsDialog
from sealyard_tui.screens.dashboard.filter_control import FilterControl
from sealyard_tui.screens.dashboard.first_steps import FirstStepsPane
from sealyard_tui.screens.dashboard.summary import SummaryBar
from sealyard_tui.screens.dashboard.task_list import TaskListModel
from sealyard_tui.screens.dashboard.task_pane import TaskPane
from sealyard_tui.screens.dashboard.task_row import SORTABLE_COLUMNS, TaskOrder, TaskRow
from sealyard_tui.screens.dashboard.throughput import Throughput
from sealyard_tui.screens.list_screen import ListScreen
from sealyard_tui.session.download_manager import DownloadStatus
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.session.state import SessionState
from sealyard_tui.widgets.columns import join_cells
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.pane_title import set_pane_title
from sealyard_tui.widgets.sort_order import SortOrder
from sealyard_tui.widgets.virtual_table import VirtualTable

DETAIL_CLASS = "-detail"
"""CSS class of the screen while the detail pane is open. On small terminals, the pane replaces the list."""

LOADING_TEXT = "Loading tasks …"
NO_TASKS_TEXT = "No tasks yet.\nPress {key[dashboard.new]} to create the first package."
NO_VISIBLE_TASKS_TEXT = "No tasks yet.\nUsers with USE on a device configuration ({key[app.devices]}) can create them."
INVALID_FILTER_TEXT = "The filter is invalid, see above.\nPress {key[screen.back]} to clear it."
NO_MATCH_TEXT = "No tasks match the filter.\nPress {key[screen.back]} to clear it."


class DashboardScreen(ListScreen):
    """Screen with a summary, the list of tasks, and the details of the current task."""

    NAME = "dashboard"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "#rows"
    SORTABLE = SORTABLE_COLUMNS
    ORDER = TaskOrder
    HELP = (
        "All tasks you have permission to view, updated live. Press {key[screen.filter]} to filter by words or fields: "
        "status:waiting status:expired owner:me kind:packaging device:gateway. Prefix a term with - or ! to "
        'exclude it; use "double quotes" around spaces and colons. Result states: ↓ available for download, '
        "! link expired (press {key[dashboard.renew]} to renew it), ∅ file removed (create a new package)."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "download", "Download", id="dashboard.download", tooltip="Download the result"),
        Binding("e", "renew", "Renew", id="dashboard.renew", tooltip="Renew the link of an expired result"),
        Binding("w", "withdraw", "Withdraw", id="dashboard.withdraw", tooltip="Withdraw your own request"),
        Binding("x", "cancel", "Cancel", id="dashboard.cancel", tooltip="Cancel the task, even if it is running"),
        Binding("n", "new", "New", id="dashboard.new", tooltip="Create a package"),
        Binding(
            "a",
            "resubmit",
            "Submit again",
            id="dashboard.resubmit",
            show=False,
            tooltip="Submit a rejected, cancelled or failed task again",
        ),
        Binding(
            "s", "pick_status", "Status", id="dashboard.status", show=False, tooltip="Filter by status or result state"
        ),
        Binding(
            "m",
            "mine",
            "My tasks",
            id="dashboard.only_mine",
            show=False,
            tooltip="Show only your own tasks, or all tasks",
        ),
        Binding("f", "folder", "Open folder", id="dashboard.folder", show=False, tooltip="Open the folder of the file"),
        Binding("c", "copy", "Copy …", id="dashboard.copy", show=False, tooltip="Copy the id, SHA-256, path or link"),
        Binding("y", "copy_id", "Copy id", id="dashboard.copy_id", show=False, tooltip="Copy the task id"),
        Binding("J", "json", "JSON", id="dashboard.json", show=False, tooltip="Show the whole task as JSON"),
        Binding(
            "L",
            "downloads",
            "Downloads",
            id="dashboard.downloads",
            show=False,
            tooltip="Show the downloads in this session",
        ),
        Binding(
            "H", "first_steps", "First steps", id="dashboard.first_steps", show=False, tooltip="Hide or show the guide"
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._counts_loader = CountsLoader(self, self._on_counts_loaded)
        self._renderer = RowRenderer(
            self.now,
            self._get_download_status,
            lambda: self.state,
            lambda: action_keys(self.app),
            self._get_change_mark,
        )
        self._detail = DetailLoader(self, self._renderer)
        self._available_actions = AvailableActions()
        self._actions = TaskActions(self)

    def compose_body(self) -> ComposeResult:
        yield SummaryBar()
        yield FilterBar(self.saved_state.filter, hint="words, status:waiting, status:expired, owner:me, device:gateway")
        yield FirstStepsPane()
        with Container(id="list-and-detail"):
            yield VirtualTable[TaskRow](
                COLUMNS,
                self._renderer,
                key=lambda row: row.id,
                empty=LOADING_TEXT,
                markable=True,
                id="rows",
                classes="pane",
            )
            yield TaskPane()

    def on_mount(self) -> None:
        self._throughput = Throughput(self.now())
        self._list = TaskListModel(
            self.table, self.client, self._on_list_changed, lambda row: join_cells(self._renderer(row))
        )
        self._filter = FilterControl(self, self._list, self._on_filter_error)
        self.summary_bar.show_throughput(self._throughput)
        self.set_focus(self.table)

    def _get_download_status(self, task_id: str) -> DownloadStatus | None:
        return self.app.download_manager.status(task_id)

    def _get_change_mark(self, task_id: str) -> str:
        return self.app.changes.mark_of(task_id)

    @property
    def table(self) -> VirtualTable[TaskRow]:
        return self.query_one("#rows", VirtualTable)

    @property
    def pane(self) -> TaskPane:
        return self.query_one(TaskPane)

    @property
    def summary_bar(self) -> SummaryBar:
        return self.query_one(SummaryBar)

    @property
    def filter_bar(self) -> FilterBar:
        return self.query_one(FilterBar)

    @property
    def first_steps(self) -> FirstStepsPane:
        return self.query_one(FirstStepsPane)

    # ---- content

    async def load(self) -> None:
        await self._filter.refresh()
        await self._counts_loader.load()
        self.table.set_empty_text(self._format_empty_text())
        if not self._filter.error:
            await self._list.load()
        await self._detail.reload()

    def _format_empty_text(self) -> str:
        if self._filter.error:
            return insert_keys(self.app, INVALID_FILTER_TEXT)
        if self._filter.text:
            return insert_keys(self.app, NO_MATCH_TEXT)
        if not self.state.has_permissions:
            return LOADING_TEXT
        if self.check_action("new", ()):
            return insert_keys(self.app, NO_TASKS_TEXT)
        return "No tasks yet." if self.first_steps.display else insert_keys(self.app, NO_VISIBLE_TASKS_TEXT)

    async def apply_update(self, update: EngineUpdate) -> None:
        now = self.now()
        self._throughput.add(update.progress.values(), now)
        for change in update.tasks.values():
            if change.status.is_final:
                self._throughput.remove(change.task_id)
        if update.missed_events or any(each.startswith(("ACL", "SUBJECT")) for each in update.resources):
            await self.load()
            return
        has_device_changes = any(each.startswith("DEVICE_CONFIG") for each in update.resources)
        may_change_steps = self.first_steps.has_open_steps and has_device_changes
        if await self._list.apply_update(update) is not None or may_change_steps:
            await self._counts_loader.load()
        if self.pane.task_id in update.tasks:
            await self._detail.reload()
        elif self.pane.task_id in update.progress:
            self._detail.refresh()

    def tick(self, now: datetime) -> None:
        self._throughput.tick(now)
        self.summary_bar.show_throughput(self._throughput)
        self.table.refresh_rows()
        self._show_title()
        self._detail.refresh()

    def reset(self) -> None:
        self._list.reset()
        self.table.set_empty_text(LOADING_TEXT)
        self.pane.clear()
        self.first_steps.reset()
        self._counts_loader.reset()
        self.remove_class(DETAIL_CLASS)

    def _on_counts_loaded(self, counts: TaskCounts) -> None:
        self.summary_bar.show_counts(counts)
        self._show_title()

    def _on_list_changed(self) -> None:
        self._show_title()
        self._update_actions()

    def _show_title(self) -> None:
        task_list = self._list
        if not task_list.is_loaded:
            return
        set_pane_title(self.table, *task_list.format_title(self.format_last_update()))
        if self._filter.text and self._filter.text == self.filter_bar.text:
            row_count, match_count, counts = len(self.table), task_list.total, self._counts_loader.counts
            filter_count = row_count if match_count is None else match_count
            self.filter_bar.show_count(
                filter_count, counts.total if counts is not None else None, more=match_count is None
            )

    def _on_downloads_changed(self, _: None) -> None:
        super()._on_downloads_changed(None)
        self.table.refresh()
        self._detail.refresh()

    def _on_state_changed(self, state: SessionState) -> None:
        super()._on_state_changed(state)
        self._update_actions()
        if self._counts_loader.counts is not None:
            self.run_background(self._counts_loader.reload_first_steps(), group="first-steps")
            self.table.set_empty_text(self._format_empty_text())

    # ---- filter and order

    @on(FilterBar.Changed)
    def _on_filter_changed(self, event: FilterBar.Changed) -> None:
        self._filter.apply(event.text)

    def _on_filter_error(self) -> None:
        self.table.set_empty_text(self._format_empty_text())
        set_pane_title(self.table, "Tasks")

    def action_pick_status(self) -> None:
        self._filter.pick_status()

    def action_mine(self) -> None:
        self._filter.toggle_own_tasks()

    def apply_order(self, order: SortOrder) -> None:
        assert isinstance(order, TaskOrder)
        self._list.apply_order(order)

    @on(VirtualTable.NearEnd)
    def _on_near_end(self, event: VirtualTable.NearEnd) -> None:
        if self._list.needs_more(last=event.last):
            self.run_background(self._list.load_more(len(self.table) + 1), group="load")

    # ---- detail pane

    @on(VirtualTable.RowHighlighted)
    def _on_row_highlighted(self, event: VirtualTable.RowHighlighted) -> None:
        self._update_actions()
        if event.key is None:
            self.pane.clear()
        # The pane is hidden until the list has rows.
        self.call_after_refresh(self._detail.schedule)

    @on(VirtualTable.RowActivated)
    def _open_detail(self) -> None:
        self.add_class(DETAIL_CLASS)
        self.call_after_refresh(self.pane.focus)
        self._detail.load()

    def on_resize(self) -> None:
        """Load the current task in case the detail pane has become visible."""
        self.call_after_refresh(self._detail.schedule)

    def action_back(self) -> None:
        if self.has_class(DETAIL_CLASS) or self.pane.has_focus:
            self.remove_class(DETAIL_CLASS)
            self.set_focus(self.table)
            return
        super().action_back()

    def show_task(self, task_id: str) -> None:
        """Move the cursor to a task, loading it if needed, and open the detail pane."""
        self.run_guarded(self._show_task(task_id))

    async def _show_task(self, task_id: str) -> None:
        row = await self._list.reveal(task_id)
        self.table.move_cursor_to(row.id)
        self._open_detail()

    # ---- actions

    def _update_actions(self) -> None:
        """Update the available actions. Redraws the key hints only if they have changed, because redrawing is slow."""
        available_actions = self._actions.get_available_actions(self.table.cursor_row)
        if available_actions != self._available_actions:
            self._available_actions = available_actions
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        can_write = self.state.can_write
        match action:
            case "withdraw" | "cancel" | "renew" if not can_write:
                return False
            case "download" | "downloads" if (
                self.app.download_manager.folder is None or not self.state.can_read_results
            ):
                return False
            case "first_steps":
                return any(pane.has_open_steps for pane in self.query(FirstStepsPane))
            case "new":
                return can_write and any(each is Action.USE for _, each in self.state.rights)
            case "resubmit":
                return (self._available_actions.resubmit or None) if self.check_action("new", ()) else False
            case "withdraw" | "cancel" | "renew" | "download" | "folder":
                # Textual may call this method before the table has been composed.
                has_marks = any(each.marked_rows for each in self.query(VirtualTable))
                return True if getattr(self._available_actions, action) or has_marks else None
        return super().check_action(action, parameters)

    def explain_disabled(self, action: str) -> None:
        self._actions.explain(action)

    def action_withdraw(self) -> None:
        self._actions.withdraw()

    def action_cancel(self) -> None:
        self._actions.cancel()

    def action_renew(self) -> None:
        self._actions.renew()

    def action_download(self) -> None:
        self._actions.download()

    def action_folder(self) -> None:
        self._actions.open_folder()

    def action_copy(self) -> None:
        self._actions.copy()

    def action_copy_id(self) -> None:
        self._actions.copy_id()

    def action_json(self) -> None:
        self._actions.show_json()

    def action_first_steps(self) -> None:
        self.app.appearance.toggle_first_steps(self.state.workspace_id)
        self.reload()

    def action_new(self) -> None:
        self.post_message(ShowScreen("upload"))

    def action_resubmit(self) -> None:
        self._actions.resubmit()

    def action_downloads(self) -> None:
        self.app.push_screen(DownloadsDialog(), lambda task_id: self.show_task(task_id) if task_id else None)
