"""What lies in the watch folder, with the keys that submit, take or dismiss it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message

from sealyard.client.watch_folder.events import DropSubmitted, PackageProposal
from sealyard.model.safe_text import escape_text
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.messages import ShowTask
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.format import dropped_reason, proposal_cells
from sealyard_tui.session.watch_folder import DropStatus, WatchFolderManager
from sealyard_tui.widgets.columns import Cell, Column
from sealyard_tui.widgets.virtual_table import VirtualTable

COLUMNS = (
    Column(title="DROPPED", width=16, grow=1),
    Column(title="STATE", width=34, grow=2),
    Column(title="AGE", width=5, right=True),
)


class WatchFolderPane(Vertical):
    """Hidden while nothing lies there."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "submit_proposal", "Submit offer", id="upload.submit_offer", tooltip="Make a task of the offer"),
        Binding("f", "load_into_form", "Into the form", id="upload.take_offer", tooltip="Take its files into the form"),
        Binding("x,delete", "dismiss_proposal", "Dismiss", id="upload.dismiss_offer", tooltip="Do not offer it again"),
    ]

    class Take(Message):
        """Its files are to go into the form."""

        def __init__(self, offer: PackageProposal) -> None:
            super().__init__()
            self.offer = offer

    class Made(Message):
        """A task was made of an offer."""

        def __init__(self, offer: PackageProposal, task_id: str) -> None:
            super().__init__()
            self.offer = offer
            self.task_id = task_id

    def __init__(self, in_form: Callable[[PackageProposal], bool]) -> None:
        """``in_form``: whether an offer was taken into the form."""
        super().__init__(id="drops-pane", classes="pane")
        self._in_form = in_form
        self._acting = False

    def compose(self) -> ComposeResult:
        yield VirtualTable[DropStatus](COLUMNS, self._cells, key=lambda each: each.name, id="drops")

    @property
    def _place(self) -> BaseScreen:
        return cast(BaseScreen, self.screen)

    @property
    def _desk(self) -> WatchFolderManager:
        return self._place.app.watch_folder

    @property
    def _table(self) -> VirtualTable[DropStatus]:
        return self.query_one("#drops", VirtualTable)

    @property
    def _offer(self) -> PackageProposal | None:
        row = self._table.cursor_row
        return row.offer if row is not None else None

    def show(self) -> None:
        dropped = self._desk.dropped
        self.set_class(bool(dropped), "-shown")
        self.border_title = Content(f"Watch folder: {len(self._desk.offers)} offered")
        self._table.replace(dropped)
        self._renew_keys()

    def _cells(self, dropped: DropStatus) -> tuple[Cell, ...]:
        in_form = dropped.offer is not None and self._in_form(dropped.offer)
        return proposal_cells(dropped, self._place.now(), in_form=in_form)

    @on(VirtualTable.RowHighlighted)
    def _renew_keys(self) -> None:
        """Only when other keys may act: to build the foot of the screen anew is dear."""
        acting = self._offer is not None
        if acting != self._acting:
            self._acting = acting
            self.screen.refresh_bindings()

    @on(VirtualTable.RowActivated)
    def _chosen(self) -> None:
        row = self._table.cursor_row
        if row is None or row.offer is not None:
            self.action_load_into_form()
        elif isinstance(row.event, DropSubmitted):
            self.post_message(ShowTask(row.event.task.id))
        else:
            self.app.push_screen(TextDialog(escape_text(row.name), dropped_reason(row)))

    def action_load_into_form(self) -> None:
        if (offer := self._offer) is not None and not self._in_form(offer):
            self.post_message(self.Take(offer))

    def action_submit_proposal(self) -> None:
        if (offer := self._offer) is not None:
            self._place.run_guarded(self._submit(offer), group="watch")

    async def _submit(self, offer: PackageProposal) -> None:
        task = await self._desk.submit(offer)
        self.post_message(self.Made(offer, task.id))

    def action_dismiss_proposal(self) -> None:
        row = self._table.cursor_row
        if row is None:
            return
        if row.offer is None:
            self._desk.forget(row.name)
        else:
            self._place.run_guarded(self._desk.dismiss(row.offer), group="watch")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        if action in ("submit_proposal", "load_into_form"):
            return True if self._offer is not None else None
        return True
