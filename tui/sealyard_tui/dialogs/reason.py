"""The dialog for entering a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Button, Static

from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_multiline
from sealyard_tui.action_keys import action_keys
from sealyard_tui.dialogs.action import Action, ActionDialog
from sealyard_tui.dialogs.base import DialogText, button_row, consequence_line, format_failure
from sealyard_tui.dialogs.error import ErrorDialog

if TYPE_CHECKING:
    from textual.widgets import TextArea

EditText = Callable[[str], str]
"""Opens a text in the user's editor and returns the edited text. Raises :class:`UsageError` if that fails."""


class ReasonDialog(ActionDialog[str | None]):
    """A dialog with a multi-line input for a reason. The result is the reason, or None if the user cancelled.

    Unsubmitted text is kept as a draft.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "done", "Done", id="dialog.done", priority=True),
        Binding("ctrl+e", "edit", "Editor", id="dialog.edit", priority=True),
    ]

    error_text: str = ""
    """Why the action failed after a reason was submitted earlier; empty on the first attempt."""

    drafts: ClassVar[dict[str, str]] = {}
    """Unsubmitted texts, by ``<heading>/<subject>``."""

    def __init__(
        self,
        heading: str,
        about: str,
        *,
        required: bool,
        subject: str,
        edit: EditText,
        consequence: str = "",
        action: Callable[[str], Action] | None = None,
    ) -> None:
        """Create the dialog.

        ``about``: the explanation, which may contain untrusted text. ``required``: whether an empty reason is rejected.
        ``subject``: identifies the draft, together with ``heading``. ``edit``: opens the text in the user's editor.
        ``consequence``: what cannot be undone, as safe text that is always visible. ``action``: performed with the
        reason when the user submits it; by default, the dialog closes at once.
        """
        super().__init__()
        self.heading = heading
        self._about = about
        self._consequence = consequence
        self._required = required
        self._draft_key = f"{heading}/{subject}"
        self._edit_text = edit
        self.action = action

    def compose_body(self) -> ComposeResult:
        # Imported here because importing TextArea would delay the first paint of the application.
        from sealyard_tui.widgets.safe_text_area import SafeTextArea

        yield DialogText(Content(escape_multiline(self._about)))
        yield consequence_line(self._consequence)
        yield SafeTextArea(self.drafts.get(self._draft_key, ""), id="reason", compact=True)
        yield Static(format_failure(self.error_text), classes="wrong", markup=False)
        keys = action_keys(self.app)
        yield button_row(
            Button(Content(f"Submit ({keys['dialog.done']})"), id="yes", variant="primary", compact=True),
            Button(Content(f"Back ({keys['dialog.back']})"), id="no", compact=True),
        )

    @property
    def _area(self) -> TextArea:
        return cast("TextArea", self.query_one("#reason"))

    def on_mount(self) -> None:
        self.set_focus(self._area)
        self._update_blocked_reason()

    def _update_blocked_reason(self) -> None:
        self.set_blocked_reason("enter a reason" if self._required and not self._area.text.strip() else "")

    def restore(self, text: str) -> None:
        """Save ``text``, from an attempt that failed, as the draft for the next time the dialog is opened."""
        self.drafts[self._draft_key] = text

    def on_text_area_changed(self) -> None:
        self.drafts[self._draft_key] = self._area.text
        self._update_blocked_reason()
        self.clear_input_error()

    @on(Button.Pressed)
    def _on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_done()
        else:
            self.action_dismiss_dialog()

    def action_dismiss_dialog(self) -> None:
        if not self.cancel_action():
            self.dismiss(None)

    def action_done(self) -> None:
        # A priority binding is handled before earlier keys that are still in the message queue of the text area.
        self._area.call_later(self._submit)

    def action_edit(self) -> None:
        self._area.call_later(self._edit)

    def _submit(self) -> None:
        text = self._area.text.strip()
        if self._required and not text:
            self.show_input_error("✗ A reason is required.")
            return
        if self.action is not None:
            self.perform(self.action(text), text)
            return
        self.on_success()
        self.dismiss(text)

    def on_success(self) -> None:
        self.drafts.pop(self._draft_key, None)

    def _edit(self) -> None:
        area = self._area
        try:
            area.text = self._edit_text(area.text)
            area.move_cursor(area.document.end)
        except SealyardError as error:
            self.app.push_screen(ErrorDialog(error))
