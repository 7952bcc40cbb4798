"""Confirmation dialogs: one with two buttons, and one in which the user types a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Button, Input, Static

from sealyard.model.safe_text import escape_multiline
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.dialogs.action import Action, ActionDialog
from sealyard_tui.dialogs.base import DialogText, button_row, consequence_line, format_failure
from sealyard_tui.widgets.safe_input import SafeInput


class ConfirmDialog(ActionDialog[bool]):
    """A dialog with a yes-or-no question. The result is True if the user answered yes, and the action has succeeded."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="dialog.yes"),
        Binding("n", "answer(False)", "No", id="dialog.no"),
    ]

    def __init__(
        self,
        heading: str,
        question: str | Content,
        *,
        consequence: str = "",
        yes: str = "Yes",
        no: str = "No",
        action: Callable[[], Action] | None = None,
    ) -> None:
        """Create the dialog.

        ``question``: content, or untrusted text. ``consequence``: what cannot be undone, as safe text that is always
        visible. ``yes`` and ``no``: the button labels. ``action``: performed when the user answers yes; by default,
        the dialog closes at once.
        """
        super().__init__()
        self.heading = heading
        self._question = question if isinstance(question, Content) else Content(escape_multiline(question))
        self._consequence = consequence
        self._yes = yes
        self._no = no
        self.action = action

    def compose_body(self) -> ComposeResult:
        yield DialogText(self._question)
        yield consequence_line(self._consequence)
        status = Static("", classes="wrong", markup=False)
        status.display = False
        yield status
        yield button_row(
            Button(Content(self._yes), id="yes", variant="primary", compact=True),
            Button(Content(self._no), id="no", compact=True),
        )

    def on_mount(self) -> None:
        self.set_focus(self.query_one("#yes"))

    @on(Button.Pressed)
    def _on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_answer(event.button.id == "yes")

    def action_answer(self, answer: bool) -> None:
        if not answer:
            self.action_dismiss_dialog()
        elif self.action is None:
            self.dismiss(True)
        else:
            self.perform(self.action(), True)

    def show_status(self, text: str, *, is_error: bool = False) -> None:
        super().show_status(text, is_error=is_error)
        if self.is_attached:
            self.query_one(".wrong").display = bool(text)

    def on_declined(self) -> None:
        self.dismiss(False)

    def action_dismiss_dialog(self) -> None:
        if not self.cancel_action():
            self.dismiss(False)


class TypedConfirmDialog(ActionDialog[bool]):
    """A dialog in which the user types a word to confirm an action.

    The result is True if the user did so, and the action has succeeded.
    """

    error_text: str = ""
    """Why the action failed after an earlier confirmation. If set, the word is prefilled."""

    def __init__(
        self,
        heading: str,
        about: Content | str,
        word: str,
        *,
        consequence: str = "",
        submit_label: str = "Confirm",
        action: Callable[[], Action] | None = None,
    ) -> None:
        """Create the dialog.

        ``about``: an explanation, which must be safe to display. ``word``: the word to type. ``consequence``: what
        cannot be undone, as safe text that is always visible. ``action``: performed when the user confirms; by default,
        the dialog closes at once.
        """
        super().__init__()
        self.heading = heading
        self._about = about
        self._consequence = consequence
        self._word = word
        self._submit_label = submit_label
        self.action = action

    def compose_body(self) -> ComposeResult:
        yield DialogText(self._about if isinstance(self._about, Content) else Content(self._about))
        yield consequence_line(self._consequence)
        yield Static(Content.assemble("Type ", Content.styled(self._word, "bold"), " to confirm:"), classes="ask")
        yield SafeInput(self._word if self.error_text else "", id="word", compact=True)
        yield from self.compose_extra()
        yield Static(format_failure(self.error_text), classes="wrong", markup=False)
        yield button_row(
            Button(Content(self._submit_label), id="yes", variant="warning", disabled=True, compact=True),
            Button(Content("Back"), id="no", compact=True),
        )

    def compose_extra(self) -> ComposeResult:
        """Yield additional fields below the input for the word; none by default."""
        yield from ()

    def on_mount(self) -> None:
        self.set_focus(self.query_one(Input))
        self.update_blocked_reason()

    @on(Input.Changed)
    def _on_input_changed(self) -> None:
        self.update_blocked_reason()
        self.clear_input_error()

    def update_blocked_reason(self) -> None:
        self.set_blocked_reason(self._get_blocked_reason())

    @on(Input.Submitted)
    def _on_input_submitted(self) -> None:
        if self._is_confirmed():
            self._confirm()
            return
        problem = self._get_blocked_reason() if self._is_word_typed else f"does not match {self._word}"
        hint = insert_keys(self.app, "Press {key[dialog.back]} to cancel.")
        self.show_input_error(f"{problem[0].upper()}{problem[1:]}. {hint}")

    @on(Button.Pressed)
    def _on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id != "yes":
            self.action_dismiss_dialog()
        elif self._is_confirmed():
            self._confirm()

    def _confirm(self) -> None:
        if self.action is None:
            self.dismiss(True)
        else:
            self.perform(self.action(), True)

    def _is_confirmed(self) -> bool:
        return not self._get_blocked_reason()

    @property
    def _is_word_typed(self) -> bool:
        return self.query_one(Input).value.strip() == self._word

    def _get_blocked_reason(self) -> str:
        """Return why the action is not confirmed yet; empty if it is confirmed."""
        return "" if self._is_word_typed else f"type {self._word}"

    def action_dismiss_dialog(self) -> None:
        if not self.cancel_action():
            self.dismiss(False)
