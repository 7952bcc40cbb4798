"""Choosing from a long list: typing filters it, and several choices can be marked."""

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
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.dialogs.fields import Choices
from sealyard_tui.widgets.safe_input import SafeInput


class _FilterInput(SafeInput):
    """The filter; leaves the key that marks to the dialog."""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """Consume all printable keys except the one that marks."""
        return key != "space" and super().check_consume_key(key, character)


class FilterPickDialog(BaseDialog[tuple[str, ...] | None]):
    """Returns the chosen values in the order of the list; None if the user went back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False, id="finder.up", priority=True),
        Binding("down", "move(1)", "Down", show=False, id="finder.down", priority=True),
        Binding("space", "mark", "Mark", id="finder.mark", priority=True),
        Binding("enter", "done", "Done", id="finder.done", priority=True),
    ]

    def __init__(self, heading: str, choices: Choices, picked: Collection[str], *, several: bool) -> None:
        super().__init__(classes="finder")
        self.heading = heading
        self._choices = choices
        self._picked = set(picked)
        self._several = several
        self._shown: list[str] = []

    def compose_body(self) -> ComposeResult:
        yield _FilterInput(placeholder="type to narrow the list", compact=True)
        yield OptionList(compact=True)
        yield Static("", classes="detail", markup=False)

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._show("")
        if not self._several and self._picked:
            self.query_one(OptionList).highlighted = self._shown.index(next(iter(self._picked)))
        self.set_focus(self.query_one(Input))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._show(event.value)

    def _show(self, text: str) -> None:
        wanted = text.strip().casefold()
        found = [(each, label) for each, label in self._choices if wanted in f"{each} {label}".casefold()]
        self._shown = [each for each, _ in found]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(Option(self._line(each, label)) for each, label in found)
        options.highlighted = 0 if found else None
        self._count()

    def _line(self, each: str, label: str) -> Content:
        if not self._several:
            return Content(escape_text(label))
        marked = each in self._picked
        return Content.assemble(Content.styled("● " if marked else "○ ", "$accent"), escape_text(label))

    def _count(self) -> None:
        words = f"{len(self._shown):,} of {len(self._choices):,}"
        text = f"{len(self._picked)} chosen · {words} · space marks" if self._several else words
        self.query_one(".detail", Static).update(Content(text))

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if by > 0 else options.action_cursor_up()

    def action_mark(self) -> None:
        options = self.query_one(OptionList)
        index = options.highlighted
        if index is None:
            return
        each = self._shown[index]
        self._picked ^= {each}
        options.replace_option_prompt_at_index(index, self._line(each, dict(self._choices)[each]))
        self._count()

    def action_done(self) -> None:
        if self._several:
            self.dismiss(tuple(each for each, _ in self._choices if each in self._picked))
            return
        index = self.query_one(OptionList).highlighted
        self.dismiss((self._shown[index],) if index is not None else None)

    @on(OptionList.OptionSelected)
    def _clicked(self) -> None:
        if self._several:
            self.action_mark()
        else:
            self.action_done()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's
        return self._several if action == "mark" else True
