"""The approvals screen: review pending tasks and decide on them."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.timer import Timer

from sealyard.model.access import Action
from sealyard.model.errors import NotFoundError, SealyardError
from sealyard.model.tasks import Task
from sealyard_tui.action_keys import action_keys
from sealyard_tui.dialogs.pick import PickDialog
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.formatting import task_title
from sealyard_tui.screens.approvals.actions import ApprovalActions
from sealyard_tui.screens.approvals.review import format_metadata, list_copyable_values
from sealyard_tui.screens.approvals.review_pane import ReviewPane
from sealyard_tui.screens.approvals.row import (
    COLUMNS,
    LOADING_TEXT,
    SORTABLE_COLUMNS,
    PendingOrder,
    format_empty_text,
    get_blocked_reason,
    render_cells,
)
from sealyard_tui.screens.approvals.task_list import PendingTaskList
from sealyard_tui.screens.list_screen import ListScreen
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.session.state import SessionState
from sealyard_tui.terminal.editor import view_in_pager
from sealyard_tui.widgets.columns import Cell, join_cells
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.pane_title import set_pane_title
from sealyard_tui.widgets.sort_order import SortOrder
from sealyard_tui.widgets.virtual_table import VirtualTable

DETAIL_DELAY = 0.05
"""Delay in seconds between the last cursor movement and loading the review."""

MINE, ALL = "mine", "all"

DECISION_ACTIONS = ("approve", "reject")


class ApprovalsScreen(ListScreen):
    """Screen that lists pending tasks, shows their reviews, and lets the user approve or reject them."""

    NAME = "approvals"
    CSS_PATH = "screen.tcss"
    SORTABLE = SORTABLE_COLUMNS
    ORDER = PendingOrder
    HELP = (
        "Tasks that need your decision; press {key[approvals.all]} to show all pending tasks, with the reason "
        "where you cannot decide. The review shows everything that will be released: files with their digests, "
        "metadata, keys, and what changed since the last released package of the same configuration.\n"
        "Press {key[table.open]} to show the review full screen; press {key[approvals.review_down]} and "
        "{key[approvals.review_up]} to scroll it from the list. To approve, type the name of the device "
        "configuration: the final approval cannot be undone. To reject, enter a reason."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "A,ctrl+a",
            "approve",
            "Approve",
            id="approvals.approve",
            tooltip="Approve (type the device name to confirm)",
        ),
        Binding("x", "reject", "Reject", id="approvals.reject", tooltip="Reject with a reason"),
        Binding(
            "m", "toggle_all", "Mine/all", id="approvals.all", tooltip="Show tasks you can decide, or all pending tasks"
        ),
        Binding(
            "n,right_square_bracket", "next(1)", "Next", id="approvals.next", tooltip="Go to the next task", show=False
        ),
        Binding("N,left_square_bracket", "next(-1)", "Previous", id="approvals.previous", show=False),
        Binding("full_stop,shift+down", "scroll_review(1)", "Review down", id="approvals.review_down", show=False),
        Binding("comma,shift+up", "scroll_review(-1)", "Review up", id="approvals.review_up", show=False),
        Binding("y", "copy_digest", "Digest", id="approvals.copy_digest", tooltip="Copy the approval digest"),
        Binding("c", "copy", "Copy …", id="approvals.copy", tooltip="Choose what to copy", show=False),
        Binding("e", "pager", "Metadata", id="approvals.pager", tooltip="Open the metadata in the pager", show=False),
        Binding("J", "json", "JSON", id="approvals.json", tooltip="Show the whole task as JSON", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._task_list = PendingTaskList(
            self,
            on_change=self.update_title,
            load_review=self._load_review,
            get_shown_text=lambda task: join_cells(self._render_cells(task)),
        )
        self._actions = ApprovalActions(self, self._task_list, lambda: self.review)
        self._detail_timer: Timer | None = None
        self._could_decide: bool | None = None

    # ---- layout

    def compose_body(self) -> ComposeResult:
        self._task_list.show_all = (self.saved_state.scope or self.saved_state.sort) == ALL
        yield FilterBar(self.saved_state.filter, hint="a word of the name, the id or a file")
        with Container(id="list-and-detail"):
            yield VirtualTable[Task](
                COLUMNS,
                self._render_cells,
                key=lambda task: task.id,
                empty=LOADING_TEXT,
                markable=True,
                id="queue",
                classes="pane",
            )
            yield ReviewPane()

    def on_mount(self) -> None:
        self.app.state_changed.subscribe(self, self._on_permissions_changed)
        self.set_focus(self.table)

    @property
    def table(self) -> VirtualTable[Task]:
        return self._task_list.table

    @property
    def review(self) -> ReviewPane:
        return self.query_one(ReviewPane)

    def _render_cells(self, task: Task) -> tuple[Cell, ...]:
        return render_cells(task, self.state, self.now(), self.app.changes.mark_of(task.id))

    # ---- load and update

    async def load(self) -> None:
        await self._task_list.load()

    async def apply_update(self, update: EngineUpdate) -> None:
        await self._task_list.apply_update(update)

    def tick(self, now: datetime) -> None:
        self.table.refresh_rows()
        self.review.tick(now)
        self.update_title()
        self._update_permissions()

    def apply_order(self, order: SortOrder) -> None:
        self._task_list.apply_order(order)

    def reset(self) -> None:
        self._task_list.reset()
        self.table.set_empty_text(LOADING_TEXT)
        self.review.clear()
        self.remove_class("-reading")

    def _on_permissions_changed(self, state: SessionState) -> None:
        self.table.refresh()
        self.update_title()
        if self.review.review is not None:
            self.review.show(self.review.review, self.now(), state.subject_names)

    @on(VirtualTable.NearEnd)
    def _on_near_end(self) -> None:
        self._task_list.load_more()

    def update_title(self) -> None:
        task_list = self._task_list
        more = task_list.next_cursor is not None
        count = f"{len(self.table):,}{'+' if more else ''}"
        label = "pending" if task_list.show_all else "to approve"
        marks = f", {len(self.table.marked_rows)} marked" if self.table.marked_rows else ""
        order_note = f"by {task_list.order.column} (loaded rows only)" if task_list.sorts_loaded_rows else ""
        set_pane_title(self.table, f"{count} {label}{marks}", order_note, self.format_last_update())
        self.query_one(FilterBar).show_count(len(self.table), more=more, similar=task_list.is_similar)
        is_filtered = bool(self.query_one(FilterBar).text)
        self.table.set_empty_text(
            format_empty_text(self.state, action_keys(self.app), show_all=task_list.show_all, is_filtered=is_filtered)
        )

    # ---- review pane

    @on(VirtualTable.RowHighlighted)
    def _on_cursor_moved(self) -> None:
        self._update_permissions()
        if self._detail_timer is not None:
            self._detail_timer.stop()
        self._detail_timer = self.set_timer(DETAIL_DELAY, self._on_cursor_idle)

    def _on_cursor_idle(self) -> None:
        self.run_background(self._load_review(), group="review")

    async def _load_review(self) -> None:
        client = await self.client()
        task_id = self.table.cursor_key
        if task_id is None:
            self.review.clear()
            self.remove_class("-reading")
            self._update_permissions()
            return
        try:
            review = await client.review(task_id)
        except NotFoundError:
            self._task_list.remove(task_id)
            return
        if task_id == self.table.cursor_key:
            self.review.show(review, self.now(), self.state.subject_names)
            self._update_permissions()

    @on(VirtualTable.RowActivated)
    def _on_row_activated(self) -> None:
        self.add_class("-reading")
        self.set_focus(self.review)

    @on(VirtualTable.MarksChanged)
    def _on_marks_changed(self) -> None:
        self.update_title()
        self._update_permissions()

    @on(FilterBar.Changed)
    def _on_filter_changed(self, event: FilterBar.Changed) -> None:
        self.save_state(filter=event.text)
        self.reload()

    # ---- actions

    def action_approve(self) -> None:
        self._actions.approve()

    def action_reject(self) -> None:
        self._actions.reject()

    def action_back(self) -> None:
        """Return to the list if the review is open or has focus; otherwise do the same as the base class."""
        if self.has_class("-reading"):
            self.remove_class("-reading")
            self.set_focus(self.table)
            return
        if self.review.has_focus:
            self.set_focus(self.table)
            return
        super().action_back()

    def action_toggle_all(self) -> None:
        self._task_list.show_all = not self._task_list.show_all
        self.save_state(scope=ALL if self._task_list.show_all else MINE)
        self.table.clear_marks()
        self.reload()

    def action_next(self, step: int) -> None:
        self.table.action_move(step)

    def action_scroll_review(self, pages: int) -> None:
        self.review.scroll_half_page(pages)

    def action_copy_digest(self) -> None:
        if (task := self.table.cursor_row) is not None:
            self._copy(task.approval_digest, "the approval digest")

    def action_copy(self) -> None:
        task = self.table.cursor_row
        if task is None:
            return
        values = list_copyable_values(task)
        choices = [(name, f"{name}: {text}") for name, text in values.items()]

        def copy_value(name: str | None) -> None:
            if name is not None:
                self._copy(values[name], name)

        self.app.push_screen(PickDialog("Copy", choices), copy_value)

    def _copy(self, text: str, label: str) -> None:
        self.app.copy_to_clipboard(text)
        self.flash(f"Copied {label}.")

    def action_json(self) -> None:
        if (task := self.table.cursor_row) is not None:
            text = msgspec.json.format(msgspec.json.encode(task), indent=2).decode()
            self.app.push_screen(TextDialog(f"JSON of {task_title(task)}", text, suffix=".json"))

    def action_pager(self) -> None:
        review = self.review.review
        if review is None or not review.metadata:
            self.flash("This task has no metadata.", warning=True)
            return
        if len(review.metadata) == 1:
            self._view_metadata(0)
            return
        choices = [(str(index), name) for index, (name, _) in enumerate(review.metadata)]
        self.app.push_screen(PickDialog("Metadata", choices), self._on_metadata_picked)

    def _on_metadata_picked(self, index: str | None) -> None:
        if index is not None:
            self._view_metadata(int(index))

    def _view_metadata(self, index: int) -> None:
        review = self.review.review
        if review is None or index >= len(review.metadata):
            return
        try:
            view_in_pager(self.app, format_metadata(review, index))
        except SealyardError as error:
            self.app.show_error(error)

    def explain_disabled(self, action: str) -> None:
        if action in DECISION_ACTIONS:
            self._actions.explain_blocked()
        else:
            super().explain_disabled(action)

    # ---- permissions

    def _update_permissions(self) -> None:
        """Update the available actions. Redraws the key hints only if they have changed, because redrawing is slow."""
        can_decide = self._can_decide()
        if can_decide is not self._could_decide:
            self._could_decide = can_decide
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in DECISION_ACTIONS:
            return self._can_decide()
        return super().check_action(action, parameters)

    def _can_decide(self) -> bool | None:
        """Return the state of the approve and reject actions.

        Returns True if a selected task can be decided, None (disabled) if not, and False (hidden) without permission.
        """
        if not self.state.can_write or not any(action is Action.APPROVE for _, action in self.state.rights):
            return False
        now = self.now()
        return any(not get_blocked_reason(task, self.state, now) for task in self.table.selected_rows) or None
