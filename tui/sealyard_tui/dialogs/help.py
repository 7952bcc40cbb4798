"""The help screen: what a screen is for, and what its keys do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from sealyard_tui.appearance.active_bindings import ActiveAction
from sealyard_tui.dialogs.base import BaseDialog

GROUP_TITLES = {
    "screen": "On every screen",
    "table": "In the list",
    "filter": "In the filter line",
    "dialog": "In this dialog",
    "app": "Everywhere",
    "": "Navigation",
}
"""Headings by scope, in their order; the keys of the screen itself come first, under its name."""

KEYS_WIDTH = 22
WORDS_WIDTH = 26


class HelpScreen(BaseDialog[None]):
    """Shows what a screen is for, and its keys in groups."""

    heading = "Help"
    CSS_PATH = "help.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,question_mark,f1", "dismiss_dialog", "Close", show=False, id="help.close", priority=True),
        Binding("j,down", "scroll(1)", "Down", show=False, id="help.down", priority=True),
        Binding("k,up", "scroll(-1)", "Up", show=False, id="help.up", priority=True),
        Binding("ctrl+d,pagedown", "scroll(10)", "Page down", show=False, id="help.page_down", priority=True),
        Binding("ctrl+u,pageup", "scroll(-10)", "Page up", show=False, id="help.page_up", priority=True),
        Binding("g,home", "ends(True)", "First", show=False, id="help.first", priority=True),
        Binding("G,end", "ends(False)", "Last", show=False, id="help.last", priority=True),
    ]

    def __init__(self, label: str, about: str, actions: Iterable[ActiveAction]) -> None:
        """``label`` and ``about`` are name and purpose of the screen, ``actions`` what can be done there."""
        super().__init__(classes="wide help")
        self.heading = f"Help: {label}"
        self._label = label
        self._about = about
        self._actions = tuple(actions)

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(classes="reading"):
            if self._about:
                yield Static(Content(self._about.strip()), classes="about")
            for heading, actions in self._groups():
                yield Static(Content(heading), classes="heading")
                for action in actions:
                    yield Static(_line(action), classes="line")
            yield Static(Content(_FOOT), classes="about")

    def on_mount(self) -> None:
        self.set_focus(self.query_one(".reading"))

    def _groups(self) -> Iterator[tuple[str, list[ActiveAction]]]:
        here = [each for each in self._actions if each.scope not in GROUP_TITLES]
        if here:
            yield self._label, here
        for scope, heading in GROUP_TITLES.items():
            if found := [each for each in self._actions if each.scope == scope]:
                yield heading, found

    def action_scroll(self, by: int) -> None:
        self.query_one(".reading").scroll_relative(y=by, animate=False, immediate=True)

    def action_ends(self, top: bool) -> None:
        reading = self.query_one(".reading")
        reading.scroll_home(animate=False, immediate=True) if top else reading.scroll_end(animate=False, immediate=True)


_FOOT = (
    "Use the names on the right to change keys in the [keymap] table of the settings file; `sealyard config path` "
    "prints its path."
)


def _line(action: ActiveAction) -> Content:
    words = action.description if action.enabled else f"{action.description} (unavailable)"
    return Content.assemble(
        Content.styled(" ".join(action.keys).ljust(KEYS_WIDTH), "bold $accent" if action.enabled else "$text-muted"),
        Content.styled(words.ljust(WORDS_WIDTH), "" if action.enabled else "$text-muted"),
        Content.styled(f" {action.id}", "$text-muted"),
    )
