"""The dialog for choosing a theme, with a live preview."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from sealyard_tui.dialogs.base import BaseDialog


class ThemePicker(BaseDialog[str | None]):
    """A dialog with a list of themes. The highlighted theme is applied as a preview.

    The result is the name of the chosen theme. Esc restores the previous theme; the result is then None.
    """

    heading = "Theme"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "move(1)", "Down", show=False, id="dialog.down"),
        Binding("k", "move(-1)", "Up", show=False, id="dialog.up"),
    ]

    def __init__(self, names: Iterable[str], current: str) -> None:
        super().__init__(classes="theme-picker")
        self._names = tuple(names)
        self._current = current

    def compose_body(self) -> ComposeResult:
        yield OptionList(*(Option(Content(name), id=name) for name in self._names), compact=True)

    def on_mount(self) -> None:
        options = self.query_one(OptionList)
        options.highlighted = self._names.index(self._current) if self._current in self._names else 0
        self.set_focus(options)

    @on(OptionList.OptionHighlighted)
    def _on_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self.app.theme = self._names[event.option_index]

    @on(OptionList.OptionSelected)
    def _on_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._names[event.option_index])

    def action_move(self, offset: int) -> None:
        options = self.query_one(OptionList)
        options.action_cursor_down() if offset > 0 else options.action_cursor_up()

    def action_dismiss_dialog(self) -> None:
        self.app.theme = self._current
        self.dismiss(None)
