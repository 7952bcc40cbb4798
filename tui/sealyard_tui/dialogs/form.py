"""A form: fields with their errors, and work that may take a while before the dialog closes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widgets import Button, Input, Static

from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_multiline
from sealyard_tui.dialogs.base import BaseDialog
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
from sealyard_tui.messages import ShowError
from sealyard_tui.session.hints import action_keys, app_hint

log = logging.getLogger(__name__)

MAX_HEIGHT = 0.94
"""Share of the screen's height; fields that do not fit scroll."""

MIN_FIELDS = 3

Submit = Callable[[Answers], Coroutine[Any, Any, bool]]
"""Performs the action of the form; False if the user changed their mind. Errors are shown in the form."""


class FormDraft:
    """Input that was typed and not submitted. The opener of a form keeps it, so that nothing is lost."""

    def __init__(self) -> None:
        self.answers: Answers | None = None


class _Fields(VerticalScroll, inherit_bindings=False):
    """Moves between fields by arrow keys, and scrolls to the current one."""


class FormDialog(BaseDialog[bool]):
    """Returns True once ``submit`` has succeeded. Esc closes it at any time; work in progress is still completed."""

    CSS_PATH = "form.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "submit", "Done", id="form.submit", priority=True),
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
        busy_label: str = "Working",
        notes: Callable[[Answers], Content] | None = None,
        error: SealyardError | None = None,
    ) -> None:
        """Show ``fields``. ``about`` may hold foreign text.

        ``notes`` returns what follows from the answers; ``busy_label`` is shown while ``submit`` runs; ``error`` is
        that of an earlier attempt with these answers.
        """
        super().__init__(classes="form")
        self.heading = heading
        self._fields = fields
        self._submit = submit
        self._draft = draft
        self._about = about
        self._submit_label = submit_label
        self._busy_label = busy_label
        self._notes = notes
        self._error = error
        self._initial_answers: Answers | None = None
        self._seconds = 0
        self._timer: Timer | None = None
        self._finished = False

    # ---- layout

    def compose_body(self) -> ComposeResult:
        if self._about:
            yield Static(Content(escape_multiline(self._about)), classes="about")
        with _Fields(classes="fields", can_focus=False):
            yield from self._rows()
        yield Static("", classes="hint", markup=False)
        yield Static("", classes="notes", markup=False)
        yield Static("", classes="wrong", markup=False)
        with Horizontal(classes="buttons"):
            yield Button(Content(f"{self._submit_label} (ctrl+s)"), id="yes", variant="primary", compact=True)
            yield Button(Content("Back (esc)"), id="no", compact=True)

    def _rows(self) -> list[FieldRow]:
        kept = self._draft.answers
        so_far = {each.name: each.value for each in self._fields if isinstance(each, TextField | ChoiceField)}
        if kept is not None:
            so_far.update(kept.texts)
        rows = []
        for field in self._fields:
            row = FieldRow(field, kept, so_far)
            so_far[field.name] = row.text
            rows.append(row)
        return rows

    def on_mount(self) -> None:
        self.set_focus(self.query(FieldRow).first().control)
        self._initial_answers = self.answers if self._draft.answers is None else None
        self._on_answers_changed()
        if self._error is not None:
            self._show_error(self._error)

    @property
    def answers(self) -> Answers:
        return collect_answers(self.query(FieldRow))

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """Limit the height of the fields: Textual does not share room between auto-sized and scrolling widgets."""
        if not self.query(".fields"):
            # The dialog was closed before the paint after which this was called.
            return
        box, fields = self.query_one(".dialog"), self.query_one(".fields")
        others = sum(each.outer_size.height for each in box.children if each is not fields and each.display)
        room = int(self.size.height * MAX_HEIGHT) - box.gutter.height - fields.styles.margin.height - others
        fields.styles.max_height = max(MIN_FIELDS, room)

    @on(Input.Changed)
    @on(PickerLine.Changed)
    def _on_answers_changed(self) -> None:
        for row in self.query(FieldRow):
            row.update_choices(self.answers.texts)
        if self.answers != self._initial_answers:
            self._draft.answers = self.answers
        if self._notes is not None:
            notes = self._notes(self.answers)
            self.query_one(".notes", Static).update(notes)
            self.query_one(".notes").display = bool(notes)
        self.call_after_refresh(self._fit)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        row = next((each for each in event.widget.ancestors if isinstance(each, FieldRow)), None)
        for other in self.query(FieldRow):
            other.set_class(other is row, "-here")
        self.query_one(".hint", Static).update(Content(row.field.hint if row is not None else ""))

    # ---- fields

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.focus_next()

    @on(PickerLine.Opened)
    def _open_picker(self, event: PickerLine.Opened) -> None:
        line = event.line
        row = next(each for each in self.query(FieldRow) if each.control is line)

        def chosen(picked: tuple[str, ...] | None) -> None:
            if picked is not None:
                line.pick(picked)
                self.focus_next()

        several = isinstance(line, MultiChoiceLine)
        self.app.push_screen(FilterPickDialog(row.field.label, line.choices, line.picked, several=several), chosen)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "yes":
            self.action_submit()
        else:
            self.action_dismiss_dialog()

    def action_dismiss_dialog(self) -> None:
        self.dismiss(False)

    # ---- submitting

    @property
    def working(self) -> bool:
        return self._timer is not None

    def action_submit(self) -> None:
        wrong = [each for each in self.query(FieldRow) if each.show_error()]
        if wrong:
            self.set_focus(wrong[0].control)
            self.call_after_refresh(self._fit)
        elif not self.working:
            self._start_busy()
            # A worker of the application: closing the form does not cancel it.
            self.app.run_worker(self._run_submit(self.answers), group="form", exit_on_error=False)

    def _start_busy(self) -> None:
        self._seconds = 0
        self._show_status("")
        self._timer = self.set_interval(1, self._tick)
        self._tick()

    def _tick(self) -> None:
        passed = f" {self._seconds} s" if self._seconds else ""
        self._show_status(f"▸ {self._busy_label}…{passed}")
        self._seconds += 1

    def _show_status(self, text: str, *, wrong: bool = False) -> None:
        line = self.query_one(".wrong", Static)
        line.set_class(not wrong, "-working")
        line.display = bool(text)
        line.update(Content(text))
        self.call_after_refresh(self._fit)

    async def _run_submit(self, answers: Answers) -> None:
        try:
            done = await self._submit(answers)
        except SealyardError as error:
            self._show_error(error)
        except Exception as error:
            log.exception("unexpected error in a form")
            self._show_error(SealyardError(f"Internal error: {type(error).__name__}."))
        else:
            self._finish(done=done)

    def _finish(self, *, done: bool) -> None:
        if done:
            self._draft.answers = None
        if not self.is_attached:
            return
        self._stop_busy()
        self._show_status("")
        self._finished = done
        self.on_screen_resume()

    def on_screen_resume(self) -> None:
        """Close when done; a dialog that was opened on top of it stays until it is closed itself."""
        if self._finished and self.is_current:
            self.dismiss(True)

    def _show_error(self, error: SealyardError) -> None:
        if not self.is_attached:
            self.app.post_message(ShowError(error))
            return
        self._stop_busy()
        hint = app_hint(error, action_keys(self.app))
        lines = [f"✗ {escape_multiline(error.message)}", *([f"→ {escape_multiline(hint)}"] if hint else [])]
        self._show_status("\n".join(lines), wrong=True)

    def _stop_busy(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
