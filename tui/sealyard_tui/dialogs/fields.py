"""Form fields for text, a single choice or multiple choices, and their widgets.

Field hints may contain key placeholders, which :func:`sealyard_tui.action_keys.insert_keys` replaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, Static

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_text
from sealyard_tui.widgets.safe_input import SafeInput

Choices = tuple[tuple[str, str], ...]
"""Pairs of value and label. Labels may be untrusted."""

Texts = Mapping[str, str]
"""Values of text and choice fields, by field name."""


Selections = Mapping[str, tuple[str, ...]]
"""Selected values of multi-choice fields, by field name."""


class Answers(FrozenStruct, frozen=True, kw_only=True):
    """The answers in a form, by field name.

    ``texts``: the values of text and choice fields, without surrounding whitespace. ``selections``: the values that are
    selected in multi-choice fields.
    """

    texts: dict[str, str]
    selections: dict[str, tuple[str, ...]]


class TextField(FrozenStruct, frozen=True, kw_only=True):
    """A field for one line of text.

    ``check`` raises :class:`SealyardError` if the text is invalid. It is not called for an empty text. ``is_masked``:
    whether the text is a secret, which is not shown.
    """

    name: str
    label: str
    value: str = ""
    hint: str = ""
    required: bool = False
    check: Callable[[str], object] | None = None
    is_masked: bool = False


class ChoiceField(FrozenStruct, frozen=True, kw_only=True):
    """A field for choosing one of several values.

    ``choices`` may depend on the answers in other fields. ``note`` returns a note about the chosen value.
    """

    name: str
    label: str
    choices: Choices | Callable[[Texts], Choices]
    value: str = ""
    hint: str = ""
    note: Callable[[str], Content] | None = None


class MultiChoiceField(FrozenStruct, frozen=True, kw_only=True):
    """A field for choosing any number of values. ``empty_label`` is shown if none is selected.

    ``choices`` may depend on the selections in other fields.
    """

    name: str
    label: str
    choices: Choices | Callable[[Selections], Choices]
    value: tuple[str, ...] = ()
    hint: str = ""
    empty_label: str = "none"


Field = TextField | ChoiceField | MultiChoiceField


class PickerLine(Static, can_focus=True):
    """Base class of one-line controls that show the selected values and open a list for changing them.

    A single value can also be changed with the left and right arrow keys.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "open", "Choose", id="form.choose", tooltip="Choose from a list"),
        Binding("left", "step(-1)", "Previous", show=False, id="form.previous_choice"),
        Binding("right", "step(1)", "Next", show=False, id="form.next_choice"),
    ]

    class Opened(Message):
        """Message posted when the user wants to open the list."""

        def __init__(self, line: PickerLine) -> None:
            super().__init__()
            self.line = line

    class Changed(Message):
        """Message posted when the selection has changed."""

    def __init__(self, choices: Choices, selection: tuple[str, ...]) -> None:
        super().__init__(markup=False)
        self.choices = choices
        self.selection = selection

    def pick(self, selection: tuple[str, ...]) -> None:
        if selection != self.selection:
            self.selection = selection
            self.post_message(self.Changed())
        self.refresh()

    def step_from(self, options: Sequence[tuple[str, ...]], offset: int) -> None:
        """Select the next of ``options``, or with a negative ``offset`` the previous one."""
        self.pick(options[(options.index(self.selection) + offset) % len(options)])

    def label_of(self, value: str) -> str:
        return escape_text(dict(self.choices).get(value, value))

    def action_open(self) -> None:
        self.post_message(self.Opened(self))

    def on_click(self) -> None:
        self.action_open()


class ChoiceLine(PickerLine):
    """A control for a single choice."""

    def __init__(self, choices: Choices, value: str) -> None:
        super().__init__(choices, ())
        self.set_choices(choices, value)

    @property
    def value(self) -> str:
        return self.selection[0] if self.selection else ""

    def set_choices(self, choices: Choices, value: str) -> None:
        """Replace the choices, and select ``value`` or, if it is not one of them, the first choice."""
        self.choices = choices
        values = [choice for choice, _ in choices]
        self.selection = (value,) if value in values else tuple(values[:1])
        self.refresh()

    def render(self) -> Content:
        if not self.selection:
            return Content.styled("no choices available", "$text-muted")
        return Content.assemble(
            Content.styled("‹ ", "$accent"), self.label_of(self.value), Content.styled(" ›", "$accent")
        )

    def action_step(self, offset: int) -> None:
        if self.selection:
            self.step_from([(value,) for value, _ in self.choices], offset)


class MultiChoiceLine(PickerLine):
    """A control for selecting any number of choices."""

    def __init__(self, choices: Choices, selection: tuple[str, ...], empty_label: str) -> None:
        values = {value for value, _ in choices}
        super().__init__(choices, tuple(value for value in selection if value in values))
        self._empty_label = empty_label

    def action_step(self, offset: int) -> None:
        """Select no value, or another single value. Opens the list if several values are selected."""
        if len(self.selection) > 1:
            self.action_open()
        else:
            self.step_from([(), *((value,) for value, _ in self.choices)], offset)

    def render(self) -> Content:
        if not self.selection:
            return Content.styled(f"+ {self._empty_label}", "$text-muted")
        labels = ", ".join(map(self.label_of, self.selection))
        return Content.assemble(Content.styled(f"{len(self.selection)} ", "$accent"), labels)


class FieldRow(Vertical):
    """A form row: the label and control of a field, and lines for an error and a note."""

    def __init__(self, field: Field, draft: Answers | None, texts: Texts) -> None:
        """Create the row for ``field``.

        ``draft``: the answers to restore, if any. ``texts``: the current answers in other fields, on which the choices
        may depend.
        """
        super().__init__()
        self.field = field
        self._error = Static("", classes="field-wrong", markup=False)
        self._note = Static("", classes="field-note", markup=False)
        self.control = _create_control(field, draft, texts)

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(Content(self.field.label), classes="field-label")
            yield self.control
        yield self._error
        yield self._note

    def on_mount(self) -> None:
        if isinstance(self.field, ChoiceField) and isinstance(self.control, ChoiceLine):
            self._update_note(self.field, self.control)

    @property
    def text(self) -> str:
        if isinstance(self.control, Input):
            return self.control.value.strip()
        return self.control.value if isinstance(self.control, ChoiceLine) else ""

    @property
    def selection(self) -> tuple[str, ...]:
        return self.control.selection if isinstance(self.control, MultiChoiceLine) else ()

    def update_choices(self, answers: Answers) -> None:
        """Update the choices, which may depend on ``answers``, the current answers in all fields, and the note."""
        field, control = self.field, self.control
        if isinstance(field, ChoiceField) and isinstance(control, ChoiceLine):
            if callable(field.choices):
                control.set_choices(field.choices(answers.texts), control.value)
            self._update_note(field, control)
        elif isinstance(field, MultiChoiceField) and isinstance(control, MultiChoiceLine) and callable(field.choices):
            control.choices = field.choices(answers.selections)

    def _update_note(self, field: ChoiceField, control: ChoiceLine) -> None:
        note = field.note(control.value) if field.note is not None else Content("")
        self._note.update(note)
        self._note.set_class(bool(note), "-shown")

    @property
    def blocked_reason(self) -> str:
        """Why the form cannot be submitted with this answer, as safe text; empty if it can be."""
        if not self._find_error():
            return ""
        return f"correct {self.field.label}" if self.text else f"enter {self.field.label}"

    def show_error(self) -> bool:
        """Check the answer, show any error below the field, and return whether there is one."""
        error = self._find_error()
        self._error.update(Content(f"✗ {error}" if error else ""))
        self._error.set_class(bool(error), "-shown")
        return bool(error)

    def _find_error(self) -> str:
        if not isinstance(self.field, TextField):
            return ""
        if not self.text:
            return "This field is required." if self.field.required else ""
        try:
            if self.field.check is not None:
                self.field.check(self.text)
        except SealyardError as error:
            return escape_text(str(error))
        return ""

    @on(Input.Changed)
    def _on_input_changed(self) -> None:
        if self._error.has_class("-shown"):
            self.show_error()


def path_field(name: str, label: str, path: Path, hint: str = "~ stands for your home folder") -> TextField:
    """Return a text field for a path.

    The caller resolves the answer with :func:`sealyard_tui.widgets.path_parsing.resolve_path`.
    """
    return TextField(name=name, label=label, value=str(path), required=True, hint=hint)


def _create_control(field: Field, draft: Answers | None, texts: Texts) -> Input | ChoiceLine | MultiChoiceLine:
    if isinstance(field, MultiChoiceField):
        selections = draft.selections if draft is not None else {}
        choices = field.choices(selections) if callable(field.choices) else field.choices
        return MultiChoiceLine(choices, selections.get(field.name, field.value), field.empty_label)
    value = draft.texts.get(field.name, field.value) if draft is not None else field.value
    if isinstance(field, ChoiceField):
        choices = field.choices(texts) if callable(field.choices) else field.choices
        return ChoiceLine(choices, value)
    return SafeInput(value, compact=True, select_on_focus=False, password=field.is_masked)


def collect_answers(rows: Iterable[FieldRow]) -> Answers:
    all_rows = tuple(rows)
    return Answers(
        texts={row.field.name: row.text for row in all_rows if not isinstance(row.field, MultiChoiceField)},
        selections={row.field.name: row.selection for row in all_rows if isinstance(row.field, MultiChoiceField)},
    )
