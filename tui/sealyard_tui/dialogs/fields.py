"""The fields of a form: texts, one of several choices, any number of choices; and their widgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
"""Values with their labels; a label may be foreign text."""

Texts = Mapping[str, str]


class Answers(FrozenStruct, frozen=True, kw_only=True):
    """By name of the field: ``texts`` of text and choice fields, stripped; ``selections`` of multi-choice fields."""

    texts: dict[str, str]
    selections: dict[str, tuple[str, ...]]


class TextField(FrozenStruct, frozen=True, kw_only=True):
    """A line of text. ``check`` raises an error for an invalid answer; an empty one is valid unless ``required``."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    required: bool = False
    check: Callable[[str], object] | None = None


class ChoiceField(FrozenStruct, frozen=True, kw_only=True):
    """One of ``choices``, which may depend on the other answers. ``note`` returns a remark about a choice."""

    name: str
    label: str
    choices: Choices | Callable[[Texts], Choices]
    value: str = ""
    hint: str = ""
    note: Callable[[str], Content] | None = None


class MultiChoiceField(FrozenStruct, frozen=True, kw_only=True):
    """Any number of ``choices``; ``empty_label`` tells what choosing none means."""

    name: str
    label: str
    choices: Choices
    value: tuple[str, ...] = ()
    hint: str = ""
    empty_label: str = "none"


Field = TextField | ChoiceField | MultiChoiceField


class PickerLine(Static, can_focus=True):
    """A line that shows what is chosen, and opens a list to choose from."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "open", "Choose", id="form.choose", tooltip="Choose from a list"),
    ]

    class Opened(Message):
        """The list is requested."""

        def __init__(self, line: PickerLine) -> None:
            super().__init__()
            self.line = line

    class Changed(Message):
        """The choice has changed."""

    def __init__(self, choices: Choices, picked: tuple[str, ...]) -> None:
        super().__init__(markup=False)
        self.choices = choices
        self.picked = picked

    def pick(self, picked: tuple[str, ...]) -> None:
        if picked != self.picked:
            self.picked = picked
            self.post_message(self.Changed())
        self.refresh()

    def label_of(self, each: str) -> str:
        return escape_text(dict(self.choices).get(each, each))

    def action_open(self) -> None:
        self.post_message(self.Opened(self))

    def on_click(self) -> None:
        self.action_open()


class ChoiceLine(PickerLine):
    """One of several choices; left and right change it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "Previous", show=False, id="form.previous_choice"),
        Binding("right", "step(1)", "Next", show=False, id="form.next_choice"),
    ]

    def __init__(self, choices: Choices, chosen: str) -> None:
        super().__init__(choices, ())
        self.set_choices(choices, chosen)

    @property
    def chosen(self) -> str:
        return self.picked[0] if self.picked else ""

    def set_choices(self, choices: Choices, chosen: str) -> None:
        """Replace the choices; a choice that is no longer offered is replaced by the first."""
        self.choices = choices
        ids = [each for each, _ in choices]
        self.picked = (chosen,) if chosen in ids else tuple(ids[:1])
        self.refresh()

    def render(self) -> Content:
        if not self.picked:
            return Content.styled("no choices available", "$text-muted")
        return Content.assemble(
            Content.styled("‹ ", "$accent"), self.label_of(self.chosen), Content.styled(" ›", "$accent")
        )

    def action_step(self, by: int) -> None:
        ids = [each for each, _ in self.choices]
        if self.picked:
            self.pick((ids[(ids.index(self.chosen) + by) % len(ids)],))


class MultiChoiceLine(PickerLine):
    """Any number of several choices."""

    def __init__(self, choices: Choices, picked: tuple[str, ...], nothing: str) -> None:
        known = {each for each, _ in choices}
        super().__init__(choices, tuple(each for each in picked if each in known))
        self._nothing = nothing

    def render(self) -> Content:
        if not self.picked:
            return Content.styled(f"+ {self._nothing}", "$text-muted")
        named = ", ".join(self.label_of(each) for each in self.picked)
        return Content.assemble(Content.styled(f"{len(self.picked)} ", "$accent"), named)


class FieldRow(Vertical):
    """A field with its label, the error of its answer, and a note."""

    def __init__(self, field: Field, kept: Answers | None, others: Texts) -> None:
        """``kept``: answers of an earlier time; ``others``: the answers so far, on which choices may depend."""
        super().__init__()
        self.field = field
        self._wrong = Static("", classes="field-wrong", markup=False)
        self._note = Static("", classes="field-note", markup=False)
        self.control = _control(field, kept, others)

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static(Content(self.field.label), classes="field-label")
            yield self.control
        yield self._wrong
        yield self._note

    def on_mount(self) -> None:
        self.update_choices({})

    @property
    def text(self) -> str:
        if isinstance(self.control, Input):
            return self.control.value.strip()
        return self.control.chosen if isinstance(self.control, ChoiceLine) else ""

    @property
    def picked(self) -> tuple[str, ...]:
        return self.control.picked if isinstance(self.control, MultiChoiceLine) else ()

    def update_choices(self, texts: Texts) -> None:
        """Update choices and note after another answer changed."""
        if not isinstance(self.field, ChoiceField) or not isinstance(self.control, ChoiceLine):
            return
        if callable(self.field.choices) and texts:
            self.control.set_choices(self.field.choices(texts), self.control.chosen)
        note = self.field.note(self.control.chosen) if self.field.note is not None else Content("")
        self._note.update(note)
        self._note.set_class(bool(note), "-shown")

    def show_error(self) -> bool:
        """Show the error of the answer beside the field. Returns whether there is one."""
        wrong = self._find_error()
        self._wrong.update(Content(f"✗ {wrong}" if wrong else ""))
        self._wrong.set_class(bool(wrong), "-shown")
        return bool(wrong)

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
    def _typed(self) -> None:
        if self._wrong.has_class("-shown"):
            self.show_error()


def path_field(name: str, label: str, path: Path, hint: str = "~ stands for your home folder") -> TextField:
    """Return a field for a path; read its answer with :func:`sealyard_tui.widgets.path_parsing.resolve_path`."""
    return TextField(name=name, label=label, value=str(path), required=True, hint=hint)


def _control(field: Field, kept: Answers | None, others: Texts) -> Input | ChoiceLine | MultiChoiceLine:
    if isinstance(field, MultiChoiceField):
        picked = kept.selections.get(field.name, field.value) if kept is not None else field.value
        return MultiChoiceLine(field.choices, picked, field.empty_label)
    value = kept.texts.get(field.name, field.value) if kept is not None else field.value
    if isinstance(field, ChoiceField):
        choices = field.choices(others) if callable(field.choices) else field.choices
        return ChoiceLine(choices, value)
    return SafeInput(value, compact=True, select_on_focus=False)


def collect_answers(rows: Iterable[FieldRow]) -> Answers:
    found = tuple(rows)
    return Answers(
        texts={each.field.name: each.text for each in found if not isinstance(each.field, MultiChoiceField)},
        selections={each.field.name: each.picked for each in found if isinstance(each.field, MultiChoiceField)},
    )
