"""A form over a place: some fields, what is wrong beside each, and work that may take a while before it closes."""

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
from sealyard_tui.session.hints import app_hint

log = logging.getLogger(__name__)

MAX_HEIGHT = 0.94
"""Of the screen; fields that do not fit scroll."""

MIN_FIELDS = 3

Submit = Callable[[Answers], Coroutine[Any, Any, bool]]
"""Does what the form is for; False where the person changed their mind. Errors of the family are shown in the form."""


class FormDraft:
    """What was typed into a form and not handed in: whoever opens the form keeps it, so that nothing typed is lost."""

    def __init__(self) -> None:
        self.answers: Answers | None = None


class _Fields(VerticalScroll, inherit_bindings=False):
    """Arrows go from field to field; what is gone to is scrolled to."""


class FormDialog(BaseDialog[bool]):
    """True once ``submit`` did its work. Esc goes back at any time; work that goes on then still comes to its end."""

    CSS_PATH = "form.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "submit", "Done", id="form.submit", priority=True),
        Binding("down", "app.focus_next", "Next field", show=False, id="form.next"),
        Binding("up", "app.focus_previous", "Field before", show=False, id="form.previous"),
    ]

    def __init__(
        self,
        heading: str,
        fields: Sequence[Field],
        submit: Submit,
        *,
        draft: FormDraft,
        about: str = "",
        act: str = "Done",
        doing: str = "Working",
        notes: Callable[[Answers], Content] | None = None,
        error: SealyardError | None = None,
    ) -> None:
        """``about`` may hold foreign text; ``notes``: what follows from the answers; ``doing``: said while it works.

        ``error``: what came of these answers before.
        """
        super().__init__(classes="form")
        self.heading = heading
        self._fields = fields
        self._submit = submit
        self._draft = draft
        self._about = about
        self._act = act
        self._doing = doing
        self._notes = notes
        self._error = error
        self._initial_answers: Answers | None = None
        self._seconds = 0
        self._timer: Timer | None = None
        self._finished = False

    # ---- what is seen

    def compose_body(self) -> ComposeResult:
        if self._about:
            yield Static(Content(escape_multiline(self._about)), classes="about")
        with _Fields(classes="fields", can_focus=False):
            yield from self._rows()
        yield Static("", classes="hint", markup=False)
        yield Static("", classes="notes", markup=False)
        yield Static("", classes="wrong", markup=False)
        with Horizontal(classes="buttons"):
            yield Button(Content(f"{self._act} (ctrl+s)"), id="yes", variant="primary", compact=True)
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
        self._answered()
        if self._error is not None:
            self._show_error(self._error)

    @property
    def answers(self) -> Answers:
        return collect_answers(self.query(FieldRow))

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit)

    def _fit(self) -> None:
        """Textual shares no room between what grows with its content and what scrolls: the fields get the rest."""
        if not self.query(".fields"):
            # It was closed before the paint that this was to follow.
            return
        box, fields = self.query_one(".dialog"), self.query_one(".fields")
        others = sum(each.outer_size.height for each in box.children if each is not fields and each.display)
        room = int(self.size.height * MAX_HEIGHT) - box.gutter.height - fields.styles.margin.height - others
        fields.styles.max_height = max(MIN_FIELDS, room)

    @on(Input.Changed)
    @on(PickerLine.Changed)
    def _answered(self) -> None:
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
        for each in self.query(FieldRow):
            each.set_class(each is row, "-here")
        self.query_one(".hint", Static).update(Content(row.field.hint if row is not None else ""))

    # ---- going through it

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.focus_next()

    @on(PickerLine.Opened)
    def _choose(self, event: PickerLine.Opened) -> None:
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

    # ---- handing it in

    @property
    def working(self) -> bool:
        return self._timer is not None

    def action_submit(self) -> None:
        wrong = [each for each in self.query(FieldRow) if each.show_error()]
        if wrong:
            self.set_focus(wrong[0].control)
            self.call_after_refresh(self._fit)
        elif not self.working:
            self._begin()
            # The application does it: leaving the form does not cut it off.
            self.app.run_worker(self._perform(self.answers), group="form", exit_on_error=False)

    def _begin(self) -> None:
        self._seconds = 0
        self._show_status("")
        self._timer = self.set_interval(1, self._tick)
        self._tick()

    def _tick(self) -> None:
        passed = f" {self._seconds} s" if self._seconds else ""
        self._show_status(f"▸ {self._doing}…{passed}")
        self._seconds += 1

    def _show_status(self, text: str, *, wrong: bool = False) -> None:
        line = self.query_one(".wrong", Static)
        line.set_class(not wrong, "-working")
        line.display = bool(text)
        line.update(Content(text))
        self.call_after_refresh(self._fit)

    async def _perform(self, answers: Answers) -> None:
        try:
            done = await self._submit(answers)
        except SealyardError as error:
            self._show_error(error)
        except Exception as error:
            log.exception("a fault in a form")
            self._show_error(SealyardError(f"Something went wrong that should not have: {type(error).__name__}."))
        else:
            self._finish(done=done)

    def _finish(self, *, done: bool) -> None:
        if done:
            self._draft.answers = None
        if not self.is_attached:
            return
        self._stop()
        self._show_status("")
        self._finished = done
        self.on_screen_resume()

    def on_screen_resume(self) -> None:
        """Closes where it is done; what opened over it meanwhile stays until it is closed itself."""
        if self._finished and self.is_current:
            self.dismiss(True)

    def _show_error(self, error: SealyardError) -> None:
        if not self.is_attached:
            self.app.post_message(ShowError(error))
            return
        self._stop()
        advice = app_hint(error)
        lines = [f"✗ {escape_multiline(error.message)}", *([f"→ {escape_multiline(advice)}"] if advice else [])]
        self._show_status("\n".join(lines), wrong=True)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
