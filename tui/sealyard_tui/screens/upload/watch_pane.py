"""The pane that lists the entries of the watch folder, with actions on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message

from sealyard.client.watch_folder.events import DropSubmitted, PackageProposal
from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_keys
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.messages import ShowTask
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.format import format_drop_reason, render_drop_cells
from sealyard_tui.session.pending_changes import Change
from sealyard_tui.session.watch_folder import DropStatus, WatchFolderManager
from sealyard_tui.widgets.columns import Cell, Column
from sealyard_tui.widgets.pane_title import set_pane_title
from sealyard_tui.widgets.virtual_table import VirtualTable

COLUMNS = (
    Column(title="DROPPED", width=16, grow=1),
    Column(title="STATE", width=34, grow=2),
    Column(title="AGE", width=5, right=True),
)


class WatchFolderPane(Vertical):
    """Pane that lists the entries of the watch folder. Hidden if there are none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "submit_proposal", "Submit", id="upload.submit_proposal", tooltip="Submit the proposal as a task"),
        Binding(
            "f",
            "load_into_form",
            "Add to form",
            id="upload.take_proposal",
            tooltip="Add the files of the proposal to the form",
        ),
        Binding(
            "x,delete", "dismiss_proposal", "Dismiss", id="upload.dismiss_proposal", tooltip="Dismiss the proposal"
        ),
    ]

    class LoadRequested(Message):
        """Posted to request that a proposal be loaded into the form."""

        def __init__(self, proposal: PackageProposal) -> None:
            super().__init__()
            self.proposal = proposal

    class TaskCreated(Message):
        """Posted after a task has been created from a proposal."""

        def __init__(self, proposal: PackageProposal, task_id: str) -> None:
            super().__init__()
            self.proposal = proposal
            self.task_id = task_id

    def __init__(self, is_in_form: Callable[[PackageProposal], bool]) -> None:
        """``is_in_form``: returns whether a proposal has been loaded into the form."""
        super().__init__(id="drops-pane", classes="pane")
        self._is_in_form = is_in_form
        self._could_act = False

    def compose(self) -> ComposeResult:
        yield VirtualTable[DropStatus](COLUMNS, self._render_cells, key=lambda each: each.name, id="drops")

    @property
    def _base_screen(self) -> BaseScreen:
        return cast(BaseScreen, self.screen)

    @property
    def _manager(self) -> WatchFolderManager:
        return self._base_screen.app.watch_folder

    @property
    def _table(self) -> VirtualTable[DropStatus]:
        return self.query_one("#drops", VirtualTable)

    @property
    def _proposal(self) -> PackageProposal | None:
        row = self._table.cursor_row
        return row.proposal if row is not None else None

    def show(self) -> None:
        drops = self._manager.dropped
        self.set_class(bool(drops), "-shown")
        set_pane_title(self, f"Watch folder: {len(self._manager.proposals)} proposed")
        self._table.replace(drops)
        self._update_bindings()

    def _render_cells(self, drop: DropStatus) -> tuple[Cell, ...]:
        in_form = drop.proposal is not None and self._is_in_form(drop.proposal)
        return render_drop_cells(drop, self._base_screen.now(), in_form=in_form)

    @on(VirtualTable.RowHighlighted)
    def _update_bindings(self) -> None:
        """Redraw the key hints only if the available actions have changed, because redrawing them is slow."""
        can_act = self._proposal is not None
        if can_act != self._could_act:
            self._could_act = can_act
            self.screen.refresh_bindings()

    @on(VirtualTable.RowActivated)
    def _on_row_activated(self) -> None:
        row = self._table.cursor_row
        if row is None or row.proposal is not None:
            self.action_load_into_form()
        elif isinstance(row.event, DropSubmitted):
            self.post_message(ShowTask(row.event.task.id))
        else:
            self.app.push_screen(TextDialog(escape_text(row.name), format_drop_reason(row, action_keys(self.app))))

    def action_load_into_form(self) -> None:
        if (proposal := self._proposal) is not None and not self._is_in_form(proposal):
            self.post_message(self.LoadRequested(proposal))

    def action_submit_proposal(self) -> None:
        if (proposal := self._proposal) is not None:
            self._base_screen.run_guarded(self._submit(proposal), group="watch")

    async def _submit(self, proposal: PackageProposal) -> None:
        app = self._base_screen.app
        change = Change(label=f"New task {proposal.name}")
        try:
            task = await app.changes.run(change, lambda _: self._manager.submit(proposal))
        except SealyardError as error:
            app.notify_failure(change, error)
        else:
            self.post_message(self.TaskCreated(proposal, task.id))

    def action_dismiss_proposal(self) -> None:
        row = self._table.cursor_row
        if row is None:
            return
        if row.proposal is None:
            self._manager.forget(row.name)
        else:
            self._base_screen.run_guarded(self._manager.dismiss(row.proposal), group="watch")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        if action in ("submit_proposal", "load_into_form"):
            return True if self._proposal is not None else None
        return True
