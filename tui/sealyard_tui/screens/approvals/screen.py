"""The approvals place: what waits for a decision, all that must be seen before it, and the decision itself."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

import msgspec
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Key
from textual.timer import Timer

from sealyard.model.access import Action
from sealyard.model.errors import NotFoundError, SealyardError
from sealyard.model.tasks import Task
from sealyard_tui.dialogs.base import PickDialog, TextDialog
from sealyard_tui.formatting import task_title
from sealyard_tui.screens.approvals.actions import DecisionActions
from sealyard_tui.screens.approvals.review import copyable_values, metadata_text
from sealyard_tui.screens.approvals.review_pane import ReviewPane
from sealyard_tui.screens.approvals.row import COLUMNS, LOADING, blocked_reason, cells, empty_text
from sealyard_tui.session.state import SessionState
from sealyard_tui.terminal.editor import view_in_pager
from sealyard_tui.widgets.columns import Cell
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable

DETAIL_DELAY = 0.05
"""Seconds that the cursor rests on a row before its review is read."""

MINE, ALL = "mine", "all"

DECISION_ACTIONS = ("approve", "reject")
"""The acts that decide."""


class ApprovalsScreen(DecisionActions):
    NAME = "approvals"
    CSS_PATH = "screen.tcss"
    HELP = (
        "What waits for a decision of yours, and by `m` all that waits, with the reason where you may not decide. "
        "The review shows all that is released: files with their digests, metadata, keys, and what changed since the "
        "last approved package of the same configuration.\n"
        "Enter reads the review alone on the screen; from the list . and , scroll it. Approving is typed, for it "
        "cannot be undone once the quorum is complete; rejecting wants a reason."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("A,ctrl+a", "approve", "Approve", id="approvals.approve", tooltip="Release it; asked again, by typing"),
        Binding("x", "reject", "Reject", id="approvals.reject", tooltip="Refuse it, with a reason"),
        Binding("m", "toggle_all", "Mine/all", id="approvals.all", tooltip="What waits for me, or all that waits"),
        Binding("n,right_square_bracket", "next(1)", "Next", id="approvals.next", tooltip="The next task", show=False),
        Binding("N,left_square_bracket", "next(-1)", "Previous", id="approvals.previous", show=False),
        Binding("full_stop,shift+down", "scroll_review(1)", "Review down", id="approvals.review_down", show=False),
        Binding("comma,shift+up", "scroll_review(-1)", "Review up", id="approvals.review_up", show=False),
        Binding("y", "copy_digest", "Digest", id="approvals.copy_digest", tooltip="Copy the approval digest"),
        Binding("c", "copy", "Copy …", id="approvals.copy", tooltip="Choose what to copy", show=False),
        Binding("e", "pager", "Metadata", id="approvals.pager", tooltip="The metadata in the pager", show=False),
        Binding("J", "json", "JSON", id="approvals.json", tooltip="The whole task as JSON", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._rest: Timer | None = None
        self._might_decide: bool | None = None

    # ---- the frame

    def compose_body(self) -> ComposeResult:
        self.show_all = self.saved_state.sort == ALL
        yield FilterBar(self.saved_state.filter, hint="a word of the name, the id or a file")
        with Vertical(id="list", classes="pane"):
            yield VirtualTable[Task](
                COLUMNS, self._cells, key=lambda task: task.id, empty=LOADING, markable=True, id="queue"
            )
        yield ReviewPane()

    def on_mount(self) -> None:
        self.sealyard.state_changed.subscribe(self, self._rights_changed)
        self.set_focus(self.table)

    @property
    def table(self) -> VirtualTable[Task]:
        return self.query_one("#queue", VirtualTable)

    @property
    def review(self) -> ReviewPane:
        return self.query_one(ReviewPane)

    def _cells(self, task: Task) -> tuple[Cell, ...]:
        return cells(task, self.state, self.now())

    def tick(self, now: datetime) -> None:
        self.table.refresh()
        self.review.tick(now)
        self.update_title()
        self._update_permissions()

    def reset(self) -> None:
        super().reset()
        self.table.set_empty_text(LOADING)
        self.review.clear()
        self.remove_class("-reading")

    def _rights_changed(self, _: SessionState) -> None:
        self.table.refresh()
        self.update_title()

    # ---- what is said about the list

    def update_title(self) -> None:
        count = f"{len(self.table):,}{'+' if self.next_cursor is not None else ''}"
        what = "waiting, yours or not" if self.show_all else "waiting for you"
        marked = f", {len(self.table.marked_rows)} marked" if self.table.marked_rows else ""
        pane = self.query_one("#list")
        pane.border_title = Content(f"{count} {what}{marked}")
        pane.border_subtitle = Content(self.updated_label())
        self.query_one(FilterBar).show_count(len(self.table), more=self.next_cursor is not None)
        filtered = bool(self.query_one(FilterBar).text)
        self.table.set_empty_text(empty_text(self.state, everything=self.show_all, filtered=filtered))

    # ---- the review

    @on(VirtualTable.RowHighlighted)
    def _on_cursor_moved(self) -> None:
        self._update_permissions()
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(DETAIL_DELAY, self._on_cursor_idle)

    def _on_cursor_idle(self) -> None:
        self.run_background(self.load_review(), group="review")

    async def load_review(self) -> None:
        client = await self.client()
        task_id = self.table.cursor_key
        if task_id is None:
            self.review.clear()
            self.remove_class("-reading")
            self._update_permissions()
            return
        try:
            seen = await client.review(task_id)
        except NotFoundError:
            self.drop(task_id)
            return
        if task_id == self.table.cursor_key:
            self.review.show(seen, self.now())
            self._update_permissions()

    @on(VirtualTable.RowActivated)
    def _chosen(self) -> None:
        self.add_class("-reading")
        self.set_focus(self.review)

    @on(VirtualTable.MarksChanged)
    def _marked(self) -> None:
        self.update_title()
        self._update_permissions()

    @on(FilterBar.Changed)
    def _filtered(self, event: FilterBar.Changed) -> None:
        self.save_state(filter=event.text)
        self.reload()

    # ---- keys

    def action_back(self) -> None:
        """The review first, then as everywhere."""
        if self.has_class("-reading"):
            self.remove_class("-reading")
            self.set_focus(self.table)
            return
        if self.review.has_focus:
            self.set_focus(self.table)
            return
        super().action_back()

    def action_toggle_all(self) -> None:
        self.show_all = not self.show_all
        self.save_state(sort=ALL if self.show_all else MINE)
        self.table.clear_marks()
        self.reload()

    def action_next(self, by: int) -> None:
        self.table.action_move(by)

    def action_scroll_review(self, pages: int) -> None:
        self.review.scroll_half_page(pages)

    def action_copy_digest(self) -> None:
        if (task := self.table.cursor_row) is not None:
            self._copy(task.approval_digest, "The approval digest")

    def action_copy(self) -> None:
        task = self.table.cursor_row
        if task is None:
            return
        texts = copyable_values(task)
        choices = [(what, f"{what}: {text}") for what, text in texts.items()]

        def picked(what: str | None) -> None:
            if what is not None:
                self._copy(texts[what], what)

        self.app.push_screen(PickDialog("Copy", choices), picked)

    def _copy(self, text: str, what: str) -> None:
        self.app.copy_to_clipboard(text)
        self.flash(f"{what} copied.")

    def action_json(self) -> None:
        if (task := self.table.cursor_row) is not None:
            text = msgspec.json.format(msgspec.json.encode(task), indent=2).decode()
            self.app.push_screen(TextDialog(f"JSON of {task_title(task)}", text, suffix=".json"))

    def action_pager(self) -> None:
        seen = self.review.review
        if seen is None or not seen.metadata:
            self.flash("There is no metadata to show.", warning=True)
            return
        if len(seen.metadata) == 1:
            self._page(0)
            return
        choices = [(str(index), name) for index, (name, _) in enumerate(seen.metadata)]
        self.app.push_screen(PickDialog("Metadata", choices), self._picked_metadata)

    def _picked_metadata(self, index: str | None) -> None:
        if index is not None:
            self._page(int(index))

    def _page(self, index: int) -> None:
        seen = self.review.review
        if seen is None or index >= len(seen.metadata):
            return
        try:
            view_in_pager(self.sealyard, metadata_text(seen, index))
        except SealyardError as error:
            self.sealyard.show_error(error)

    def on_key(self, event: Key) -> None:
        """A key that decides says why it does not, where this task is not to be decided."""
        bound = self.active_bindings.get(event.key)
        if bound is not None and bound.binding.action in DECISION_ACTIONS and self._may_decide() is None:
            self.explain_blocked()

    def _update_permissions(self) -> None:
        """The keys below are drawn anew where other acts are possible, not at every move."""
        may = self._may_decide()
        if may is not self._might_decide:
            self._might_decide = may
            self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in DECISION_ACTIONS:
            return self._may_decide()
        return super().check_action(action, parameters)

    def _may_decide(self) -> bool | None:
        """Hidden where one never may, greyed where this task is not to be decided."""
        if not self.state.can_write or not any(action is Action.APPROVE for _, action in self.state.rights):
            return False
        chosen = self.table.selected_rows
        return True if any(not blocked_reason(each, self.state, self.now()) for each in chosen) else None
