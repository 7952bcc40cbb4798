"""The help dialog: the purpose of a screen, and its key bindings."""

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
"""Headings by scope of the actions, in display order. The actions of the screen come first, under its name."""

KEYS_WIDTH = 22
DESCRIPTION_WIDTH = 26


class HelpScreen(BaseDialog[None]):
    """A dialog that shows the purpose of a screen and its key bindings, in groups."""

    heading = "Help"
    CSS_PATH = "help.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,question_mark,f1", "dismiss_dialog", "Close", show=False, id="help.close", priority=True),
        Binding("j,down", "scroll(1)", "Down", show=False, id="help.down", priority=True),
        Binding("k,up", "scroll(-1)", "Up", show=False, id="help.up", priority=True),
        Binding("ctrl+d,pagedown", "scroll(10)", "Page down", show=False, id="help.page_down", priority=True),
        Binding("ctrl+u,pageup", "scroll(-10)", "Page up", show=False, id="help.page_up", priority=True),
        Binding("g,home", "scroll_to_end(True)", "First", show=False, id="help.first", priority=True),
        Binding("G,end", "scroll_to_end(False)", "Last", show=False, id="help.last", priority=True),
    ]

    def __init__(self, label: str, about: str, actions: Iterable[ActiveAction]) -> None:
        """Create the help for a screen.

        ``label``: the name of the screen. ``about``: its purpose. ``actions``: its actions with their keys.
        """
        super().__init__(classes="wide help")
        self.heading = f"Help: {label}"
        self._label = label
        self._about = about
        self._actions = tuple(actions)

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(classes="reading"):
            if self._about:
                yield Static(Content(self._about.strip()), classes="about")
            for title, actions in self._groups():
                yield Static(Content(title), classes="heading")
                for action in actions:
                    yield Static(_format_action(action), classes="line")
            yield Static(Content(_FOOTER), classes="about")

    def on_mount(self) -> None:
        self.set_focus(self.query_one(".reading"))

    def _groups(self) -> Iterator[tuple[str, list[ActiveAction]]]:
        own_actions = [action for action in self._actions if action.scope not in GROUP_TITLES]
        if own_actions:
            yield self._label, own_actions
        for scope, title in GROUP_TITLES.items():
            if actions := [action for action in self._actions if action.scope == scope]:
                yield title, actions

    def action_scroll(self, lines: int) -> None:
        self.query_one(".reading").scroll_relative(y=lines, animate=False, immediate=True)

    def action_scroll_to_end(self, top: bool) -> None:
        pane = self.query_one(".reading")
        pane.scroll_home(animate=False, immediate=True) if top else pane.scroll_end(animate=False, immediate=True)


_FOOTER = (
    "Use the names on the right to change keys in the [keymap] table of the settings file; `sealyard config path` "
    "prints its path."
)


def _format_action(action: ActiveAction) -> Content:
    description = action.description if action.enabled else f"{action.description} (unavailable)"
    return Content.assemble(
        Content.styled(" ".join(action.keys).ljust(KEYS_WIDTH), "bold $accent" if action.enabled else "$text-muted"),
        Content.styled(description.ljust(DESCRIPTION_WIDTH), "" if action.enabled else "$text-muted"),
        Content.styled(f" {action.id}", "$text-muted"),
    )
