"""The status bar: tabs for the screens, and the identity, workspace and connection."""

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
"""Columns that the identity and the engine state cannot use: the padding, and the gap between them."""

FULL_LABEL_WIDTH = 70
"""Minimum terminal width, in columns, for full labels and a two-digit count."""

SHORT_LABEL_LENGTH = 7
"""Maximum length of a label on narrower terminals."""


class ScreenTab(Static):
    """A tab with the key and label of one screen. A click on it posts :class:`Clicked`."""

    class Clicked(Message):
        """Message posted when a tab is clicked. ``screen_name``: the name of its screen."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.screen_name = name

    def __init__(self, name: str, label: str, *, is_current: bool) -> None:
        super().__init__(classes="current" if is_current else "")
        self.screen_name = name
        self._label = label
        self._count = 0

    def render(self) -> Content:
        key = action_key(self.app, f"app.{self.screen_name}")
        label = escape_text(self._label, 0 if self.app.size.width >= FULL_LABEL_WIDTH else SHORT_LABEL_LENGTH)
        count_style = "bold" if self.has_class("current") else "$warning bold"
        count = Content.styled(f"·{self._count}", count_style) if self._count else Content("")
        return Content.assemble(f"{key} {label}", count)

    def show_count(self, count: int) -> None:
        self._count = count
        self.refresh(layout=True)

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked(self.screen_name))


class StatusBar(Vertical):
    """A two-line status bar: tabs for the screens, and below them the identity and the engine state."""

    def __init__(self, labels: Mapping[str, str], current: str) -> None:
        """Create the status bar of the screen ``current``. ``labels``: the labels of all screens, by screen name."""
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
        """The number of columns available for the identity and the engine state together."""
        return self.app.size.width - MARGIN

    def show(self, identity: Content, engine: Content, *, details: str, counts: Mapping[str, int]) -> None:
        """Show the session state and the counts on the tabs.

        ``details``: the tooltip of the engine state. ``counts``: the number to show on each tab, by screen name.
        """
        self.query_one("#identity", Static).update(identity)
        self.query_one("#engine", Static).update(engine)
        self.query_one("#engine", Static).tooltip = Content(details)
        for tab in self.query(ScreenTab):
            tab.set_class(self.app.size.width < FULL_LABEL_WIDTH, "-short")
            tab.show_count(counts.get(tab.screen_name, 0))
