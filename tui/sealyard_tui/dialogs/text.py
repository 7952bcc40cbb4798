"""The dialog for reading a text."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_multiline
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.dialogs.error import ErrorDialog
from sealyard_tui.terminal.editor import view_in_pager


class TextDialog(BaseDialog[None]):
    """A dialog that shows text, which can be copied or opened in the pager."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy", "Copy", id="dialog.copy"),
        Binding("e", "pager", "Pager", id="dialog.pager"),
        Binding("j", "scroll(1)", show=False, id="dialog.down"),
        Binding("k", "scroll(-1)", show=False, id="dialog.up"),
        Binding("g", "scroll_to_end(True)", show=False, id="dialog.first"),
        Binding("G", "scroll_to_end(False)", show=False, id="dialog.last"),
        Binding("q", "dismiss_dialog", show=False, id="dialog.close"),
    ]

    def __init__(self, heading: str, text: str, *, suffix: str = ".txt") -> None:
        """Create the dialog. ``text`` may be untrusted. ``suffix``: the suffix of the temporary file for the pager."""
        super().__init__(classes="wide")
        self.heading = heading
        self._text = text
        self._suffix = suffix

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(classes="reading"):
            yield Static(Content(escape_multiline(self._text)))

    def on_mount(self) -> None:
        self.set_focus(self.query_one(".reading"))

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(self._text)
        self.notify("Copied.", markup=False)

    def action_pager(self) -> None:
        try:
            view_in_pager(self.app, self._text, self._suffix)
        except SealyardError as error:
            self.app.push_screen(ErrorDialog(error))

    def action_scroll(self, lines: int) -> None:
        self.query_one(".reading").scroll_relative(y=lines, animate=False, immediate=True)

    def action_scroll_to_end(self, top: bool) -> None:
        pane = self.query_one(".reading")
        pane.scroll_home(animate=False, immediate=True) if top else pane.scroll_end(animate=False, immediate=True)
