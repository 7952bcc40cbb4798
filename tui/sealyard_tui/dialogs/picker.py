"""The dialog for choosing from a long list that can be filtered by typing."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_key
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.dialogs.fields import Choices
from sealyard_tui.widgets.safe_input import SafeInput


class _FilterInput(SafeInput):
    """The filter input. It does not consume the space key, with which the user marks values in the list."""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return key != "space" and super().check_consume_key(key, character)


class FilterPickDialog(BaseDialog[tuple[str, ...] | None]):
    """A dialog with a filterable list. The result is the chosen values in list order, or None if the user cancelled.

    ``multiple``: whether more than one value can be chosen.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False, id="search.up", priority=True),
        Binding("down", "move(1)", "Down", show=False, id="search.down", priority=True),
        Binding("space", "mark", "Mark", id="search.mark", priority=True),
        Binding("enter", "done", "Done", id="search.done", priority=True),
    ]

    def __init__(self, heading: str, choices: Choices, selection: Collection[str], *, multiple: bool) -> None:
        super().__init__(classes="finder")
        self.heading = heading
        self._choices = choices
        self._selection = set(selection)
        self._multiple = multiple
        self._visible_values: list[str] = []

    def compose_body(self) -> ComposeResult:
        yield _FilterInput(placeholder="type to narrow the list", compact=True)
        yield OptionList(compact=True)
        yield Static("", classes="detail", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._filter("")
        if not self._multiple and self._selection:
            self.query_one(OptionList).highlighted = self._visible_values.index(next(iter(self._selection)))
        self.set_focus(self.query_one(Input))

    @on(Input.Changed)
    def _on_input_changed(self, event: Input.Changed) -> None:
        self._filter(event.value)

    def _filter(self, text: str) -> None:
        pattern = text.strip().casefold()
        matches = [(value, label) for value, label in self._choices if pattern in f"{value} {label}".casefold()]
        self._visible_values = [value for value, _ in matches]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(Option(self._format_choice(value, label)) for value, label in matches)
        options.highlighted = 0 if matches else None
        self._update_count()

    def _format_choice(self, value: str, label: str) -> Content:
        if not self._multiple:
            return Content(escape_text(label))
        is_selected = value in self._selection
        return Content.assemble(Content.styled("● " if is_selected else "○ ", "$accent"), escape_text(label))

    def _update_count(self) -> None:
        count = f"{len(self._visible_values):,} of {len(self._choices):,}"
        mark_key = action_key(self.app, "search.mark")
        text = f"{len(self._selection)} chosen · {count} · {mark_key} marks" if self._multiple else count
        self.query_one(".detail", Static).update(Content(text))

    def action_move(self, offset: int) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if offset > 0 else options.action_cursor_up()

    def action_mark(self) -> None:
        options = self.query_one(OptionList)
        index = options.highlighted
        if index is None:
            return
        value = self._visible_values[index]
        self._selection ^= {value}
        options.replace_option_prompt_at_index(index, self._format_choice(value, dict(self._choices)[value]))
        self._update_count()

    def action_done(self) -> None:
        if self._multiple:
            self.dismiss(tuple(value for value, _ in self._choices if value in self._selection))
            return
        index = self.query_one(OptionList).highlighted
        self.dismiss((self._visible_values[index],) if index is not None else None)

    @on(OptionList.OptionSelected)
    def _on_option_selected(self) -> None:
        if self._multiple:
            self.action_mark()
        else:
            self.action_done()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        return self._multiple if action == "mark" else True
