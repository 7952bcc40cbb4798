"""A form: a dialog with input fields, which remains open while its action runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, Static

from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_multiline
from sealyard_tui.action_keys import action_keys, insert_keys
from sealyard_tui.dialogs.action import ActionDialog
from sealyard_tui.dialogs.base import button_row
from sealyard_tui.dialogs.fields import (
    Answers,
    ChoiceField,
    Field,
    FieldRow,
    MultiChoiceLine,
    PickerLine,
    TextField,
    collect_answers,
)
from sealyard_tui.dialogs.picker import FilterPickDialog

MIN_FIELDS_HEIGHT = 3
"""Minimum height of the field area, in lines."""

Submit = Callable[[Answers], Coroutine[Any, Any, bool]]
"""Performs the action of the form. Returns False if the user cancelled it. Exceptions are shown in the form."""


class FormDraft:
    """Unsubmitted input of a form, kept by the caller so that it is restored when the form is reopened."""

    def __init__(self) -> None:
        self.answers: Answers | None = None


class _Fields(VerticalScroll, inherit_bindings=False):
    """The scrollable container of the fields. It has no key bindings, because the arrow keys move between fields."""


class FormDialog(ActionDialog[bool]):
    """A dialog with input fields, which closes with the result True when ``submit`` has succeeded.

    Enter moves from field to field, and submits the form on the last one. Unsubmitted input is kept in a draft.
    """

    CSS_PATH = "form.tcss"
    max_height = 0.94

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "submit", "Done", id="form.submit", priority=True),
        Binding("enter", "advance", show=False, id="form.advance"),
        Binding("down", "app.focus_next", "Next field", show=False, id="form.next"),
        Binding("up", "app.focus_previous", "Previous field", show=False, id="form.previous"),
    ]

    def __init__(
        self,
        heading: str,
        fields: Sequence[Field],
        submit: Submit,
        *,
        draft: FormDraft,
        about: str = "",
        submit_label: str = "Done",
        busy_label: str = "Sending",
        notes: Callable[[Answers], Content] | None = None,
        error: SealyardError | None = None,
    ) -> None:
        """Create a form with ``fields``.

        ``draft``: the storage for unsubmitted answers. ``about``: an introductory text, which may be untrusted.
        ``busy_label``: the text shown while ``submit`` runs. ``notes``: returns notes about the current answers.
        ``error``: the error from an earlier attempt with the answers in the draft.
        """
        super().__init__(classes="form")
        self.heading = heading
        self._fields = fields
        self._submit = submit
        self._draft = draft
        self._about = about
        self._submit_label = submit_label
        self.busy_label = busy_label
        self._notes = notes
        self._error = error
        self._initial_answers: Answers | None = None
        self._rejected_answers: Answers | None = None
        """The answers to which the error that is shown belongs; None if no error is shown."""

    # ---- layout

    def compose_body(self) -> ComposeResult:
        keys = action_keys(self.app)
        if self._about:
            yield Static(Content(escape_multiline(self._about)), classes="about")
        with _Fields(classes="fields", can_focus=False):
            yield from self._create_rows()
        yield Static("", classes="hint", markup=False)
        yield Static("", classes="notes", markup=False)
        yield Static("", classes="wrong", markup=False)
        submit_key, back_key = keys["form.submit"], keys["dialog.back"]
        yield button_row(
            Button(Content(f"{self._submit_label} ({submit_key})"), id="yes", variant="primary", compact=True),
            Button(Content(f"Back ({back_key})"), id="no", compact=True),
        )

    def _create_rows(self) -> list[FieldRow]:
        draft = self._draft.answers
        texts = {field.name: field.value for field in self._fields if isinstance(field, TextField | ChoiceField)}
        if draft is not None:
            texts.update(draft.texts)
        rows = []
        for field in self._fields:
            row = FieldRow(field, draft, texts)
            texts[field.name] = row.text
            rows.append(row)
        return rows

    def on_mount(self) -> None:
        self.set_focus(self.query(FieldRow).first().control)
        self._initial_answers = self.answers if self._draft.answers is None else None
        self._on_answers_changed()
        if self._error is not None:
            self.show_error(self._error)

    @property
    def answers(self) -> Answers:
        return collect_answers(self.query(FieldRow))

    def fit(self) -> None:
        for fields in self.query(_Fields):
            self.limit_height(fields, MIN_FIELDS_HEIGHT)

    def update_choices(self) -> None:
        """Update the choices and notes, after the data on which they depend have changed."""
        self._on_answers_changed()

    @on(Input.Changed)
    @on(PickerLine.Changed)
    def _on_answers_changed(self) -> None:
        for row in self.query(FieldRow):
            row.update_choices(self.answers)
        if self.answers != self._initial_answers:
            self._draft.answers = self.answers
        if self._rejected_answers not in (None, self.answers):
            self._rejected_answers = None
            self.show_status("")
        self.set_blocked_reason(next((reason for row in self.query(FieldRow) if (reason := row.blocked_reason)), ""))
        if self._notes is not None:
            notes = self._notes(self.answers)
            self.query_one(".notes", Static).update(notes)
            self.query_one(".notes").display = bool(notes)
        self.fit_later()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        current = next((widget for widget in event.widget.ancestors if isinstance(widget, FieldRow)), None)
        for row in self.query(FieldRow):
            row.set_class(row is current, "-current")
        hint = insert_keys(self.app, current.field.hint) if current is not None else ""
        self.query_one(".hint", Static).update(Content(hint))

    # ---- fields

    @on(Input.Submitted)
    def _on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_advance()

    def action_advance(self) -> None:
        """Move to the next field, or submit the form from the last field."""
        if self.focused is self.query(FieldRow).last().control:
            self.action_submit()
        else:
            self.focus_next()

    @on(PickerLine.Opened)
    def _on_picker_opened(self, event: PickerLine.Opened) -> None:
        line = event.line
        row = next(candidate for candidate in self.query(FieldRow) if candidate.control is line)

        def on_answer(selection: tuple[str, ...] | None) -> None:
            if selection is not None:
                line.pick(selection)
                self.focus_next()

        multiple = isinstance(line, MultiChoiceLine)
        dialog = FilterPickDialog(row.field.label, line.choices, line.selection, multiple=multiple)
        self.app.push_screen(dialog, on_answer)

    @on(Button.Pressed)
    def _on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_submit()
        else:
            self.action_dismiss_dialog()

    def action_dismiss_dialog(self) -> None:
        if not self.cancel_action():
            self.dismiss(False)

    # ---- submitting

    def action_submit(self) -> None:
        invalid_rows = [row for row in self.query(FieldRow) if row.show_error()]
        if invalid_rows:
            self.set_focus(invalid_rows[0].control)
            self.fit_later()
        else:
            self.perform(self._submit(self.answers), True)

    def on_success(self) -> None:
        self._draft.answers = None

    def show_error(self, error: SealyardError) -> None:
        super().show_error(error)
        self._rejected_answers = self.answers

    def show_status(self, text: str, *, is_error: bool = False) -> None:
        super().show_status(text, is_error=is_error)
        if self.is_attached:
            self.query_one(".wrong").display = bool(text)
