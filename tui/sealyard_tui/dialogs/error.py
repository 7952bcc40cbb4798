"""The dialog that shows an error."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_multiline
from sealyard_tui.action_keys import action_keys
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.session.hints import app_hint


class ErrorDialog(BaseDialog[None]):
    """A dialog that shows the message, hint and details of an error. The user can copy them."""

    heading = "Error"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "dismiss_dialog", "Close", id="dialog.close", priority=True),
        Binding("c", "copy", "Copy details", id="dialog.copy"),
    ]

    def __init__(self, error: SealyardError, detail: str = "") -> None:
        super().__init__(classes="error")
        self.error = error
        self._detail = detail

    @property
    def _hint(self) -> str:
        return app_hint(self.error, action_keys(self.app))

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(classes="dialog-text"):
            yield Static(Content(f"✗ {escape_multiline(self.error.message)}"), classes="what-happened")
            if hint := self._hint:
                yield Static(Content(f"→ {escape_multiline(hint)}"), classes="what-to-do")
            yield Static(Content(f"code: {self.error.code}"), classes="detail")
            if self._detail:
                yield Static(Content(escape_multiline(self._detail)), classes="detail")

    def action_copy(self) -> None:
        lines = (self.error.message, self._hint, f"code: {self.error.code}", self._detail)
        self.app.copy_to_clipboard("\n".join(escape_multiline(line) for line in lines if line))
        self.notify("Copied.", markup=False)
