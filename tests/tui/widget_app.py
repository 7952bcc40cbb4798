"""A minimal application with single widgets, or with a dialog."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any, ClassVar

from textual.app import App, ComposeResult
from textual.screen import Screen
from textual.widget import Widget

import sealyard_tui

SCREENS = Path(sealyard_tui.__file__).parent / "screens"


class BaseScreen(Screen[None]):
    """The base screen; the stylesheets name its class."""


class WidgetApp(App[None]):
    """Shows widgets, and collects the results of dialogs in ``answers``."""

    CSS_PATH: ClassVar[list[str | PurePath]] = [SCREENS / "base.tcss", SCREENS.parent / "dialogs" / "base.tcss"]

    def __init__(self, *widgets: Widget) -> None:
        super().__init__()
        self._widgets = widgets
        self.answers: list[Any] = []

    def get_default_screen(self) -> Screen[None]:
        return BaseScreen()

    def compose(self) -> ComposeResult:
        yield from self._widgets

    def ask(self, dialog: Screen[Any]) -> None:
        self.push_screen(dialog, self.answers.append)

    def text(self) -> str:
        """Return the text of the screen, line by line, without styles."""
        strips = self.screen._compositor.render_strips()
        return "\n".join("".join(part.text for part in strip).rstrip() for strip in strips)


HOSTILE = ["fw[/oops].bin", "[@click=app.quit]x[/]", "a\x1b]2;PWNED\x07b", "gnp\u202eexe", "[bold red]signed[/]"]


def is_harmless(text: str) -> bool:
    return not any(char in text for char in "\x1b\x07\u202e")
