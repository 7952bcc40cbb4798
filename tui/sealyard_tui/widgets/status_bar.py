"""The status bar: the screens with their keys, and the identity, workspace and connection."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_key

MARGIN = 3
"""Columns not available to the identity and the engine state: padding, and a gap between them."""

FULL_LABEL_WIDTH = 70
"""Minimum terminal width for full labels, with a two-digit count."""

SHORT_LABEL_LENGTH = 7
"""Maximum length of a label on narrower terminals."""


class ScreenTab(Static):
    """The label and key of one screen; a click switches to it."""

    class Clicked(Message):
        """A tab was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.screen_name = name

    def __init__(self, name: str, label: str, *, is_current: bool) -> None:
        super().__init__(classes="current" if is_current else "")
        self.screen_name = name
        self._label = label
        self._count = 0

    def render(self) -> Content:
        count = Content.styled(f"·{self._count}", "$warning bold") if self._count else Content("")
        is_current = self.has_class("current")
        key = action_key(self.app, f"app.{self.screen_name}")
        label = escape_text(self._label, 0 if self.app.size.width >= FULL_LABEL_WIDTH else SHORT_LABEL_LENGTH)
        return Content.assemble(
            Content.styled(key, "$text-muted"), " ", Content.styled(label, "bold" if is_current else ""), count
        )

    def show_count(self, count: int) -> None:
        self._count = count
        self.refresh(layout=True)

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked(self.screen_name))


class StatusBar(Vertical):
    """Two lines: the tabs of the screens, then the identity and the state of the engine."""

    def __init__(self, labels: Mapping[str, str], current: str) -> None:
        """``labels``: screen labels by screen name. ``current``: the name of the screen that this bar belongs to."""
        super().__init__()
        self._labels = labels
        self._current = current

    def compose(self) -> ComposeResult:
        with Horizontal(classes="tabs"):
            for name, label in self._labels.items():
                yield ScreenTab(name, label, is_current=name == self._current)
        with Horizontal(classes="session"):
            yield Static("", id="identity", markup=False)
            yield Static("", id="engine", markup=False)

    @property
    def text_width(self) -> int:
        """Columns available for the identity and the engine state together."""
        return self.app.size.width - MARGIN

    def show(self, identity: Content, engine: Content, *, details: str, counts: Mapping[str, int]) -> None:
        """Show the state of the session. ``details``: tooltip text. ``counts``: numbers on the tabs, by screen name."""
        self.query_one("#identity", Static).update(identity)
        self.query_one("#engine", Static).update(engine)
        self.query_one("#engine", Static).tooltip = Content(details)
        for tab in self.query(ScreenTab):
            tab.set_class(self.app.size.width < FULL_LABEL_WIDTH, "-short")
            tab.show_count(counts.get(tab.screen_name, 0))
