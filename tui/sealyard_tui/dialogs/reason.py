"""The dialog that asks for a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Button, Static

from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_multiline
from sealyard_tui.dialogs.base import BaseDialog, format_failure
from sealyard_tui.dialogs.error import ErrorDialog

if TYPE_CHECKING:
    from textual.widgets import TextArea

EditText = Callable[[str], str]
"""Edits a text in the user's editor. Raises :class:`UsageError`."""


class ReasonDialog(BaseDialog[str | None]):
    """A text of several lines; None if the user went back. What was typed is kept for the next time."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "done", "Done", id="dialog.done", priority=True),
        Binding("ctrl+e", "edit", "Editor", id="dialog.edit", priority=True),
    ]

    error_text: str = ""
    """Why the action failed after the reason was given before."""

    drafts: ClassVar[dict[str, str]] = {}
    """Texts that were typed and not used, by heading and subject."""

    def __init__(self, heading: str, about: str, *, required: bool, subject: str, edit: EditText) -> None:
        """``subject`` is the id of what the reason is for; ``about`` may hold foreign text."""
        super().__init__()
        self.heading = heading
        self._about = about
        self._required = required
        self._draft = f"{heading}/{subject}"
        self._edit_text = edit

    def compose_body(self) -> ComposeResult:
        # Loaded when first used: importing TextArea would delay the first paint of the application.
        from sealyard_tui.widgets.safe_text_area import SafeTextArea

        yield Static(Content(escape_multiline(self._about)), classes="dialog-text")
        yield SafeTextArea(self.drafts.get(self._draft, ""), id="reason", compact=True)
        yield Static(format_failure(self.error_text), classes="wrong", markup=False)
        with Horizontal(classes="buttons"):
            yield Button(Content("Submit (ctrl+s)"), id="yes", variant="primary", compact=True)
            yield Button(Content("Back (esc)"), id="no", compact=True)

    @property
    def _area(self) -> TextArea:
        return cast("TextArea", self.query_one("#reason"))

    def on_mount(self) -> None:
        self.set_focus(self._area)

    def restore(self, text: str) -> None:
        """Keep a text that could not be used, for when the dialog opens again."""
        self.drafts[self._draft] = text

    def on_text_area_changed(self) -> None:
        self.drafts[self._draft] = self._area.text

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_done()
        else:
            self.dismiss(None)

    def action_done(self) -> None:
        # Priority bindings overtake the keys typed before them, which still wait in the queue of the text area.
        self._area.call_later(self._finish)

    def action_edit(self) -> None:
        self._area.call_later(self._edit)

    def _finish(self) -> None:
        text = self._area.text.strip()
        if self._required and not text:
            self.query_one(".wrong", Static).update(Content("✗ A reason is required."))
            return
        self.drafts.pop(self._draft, None)
        self.dismiss(text)

    def _edit(self) -> None:
        area = self._area
        try:
            area.text = self._edit_text(area.text)
            area.move_cursor(area.document.end)
        except SealyardError as error:
            self.app.push_screen(ErrorDialog(error))
