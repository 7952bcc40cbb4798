"""The status bar: the screens with their keys, the identity, the workspace, and the connection."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from sealyard.model.safe_text import escape_text

MARGIN = 3
"""Columns left and right of the text."""

FULL_LABEL_WIDTH = 70
"""Columns from which on all labels fit, with a two-digit count."""

SHORT_LABEL = 7


class ScreenTab(Static):
    """Name and key of one screen; a click switches to it."""

    class Clicked(Message):
        """A tab was clicked."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.screen_name = name

    def __init__(self, name: str, key: str, label: str, *, here: bool) -> None:
        super().__init__(classes="here" if here else "")
        self.screen_name = name
        self._key = key
        self._label = label
        self._count = 0

    def render(self) -> Content:
        count = Content.styled(f"·{self._count}", "$warning bold") if self._count else Content("")
        here = self.has_class("here")
        label = escape_text(self._label, 0 if self.app.size.width >= FULL_LABEL_WIDTH else SHORT_LABEL)
        return Content.assemble(
            Content.styled(self._key, "$text-muted"), " ", Content.styled(label, "bold" if here else ""), count
        )

    def show_count(self, count: int) -> None:
        self._count = count
        self.refresh(layout=True)

    async def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Clicked(self.screen_name))


class StatusBar(Vertical):
    """Two lines: tabs of the screens, then identity and engine."""

    def __init__(self, screens: dict[str, tuple[str, str]], here: str) -> None:
        """``screens`` has key and label of each, ``here`` is the current one."""
        super().__init__()
        self._screens = screens
        self._here = here

    def compose(self) -> ComposeResult:
        with Horizontal(classes="tabs"):
            for name, (key, label) in self._screens.items():
                yield ScreenTab(name, key, label, here=name == self._here)
        with Horizontal(classes="standing"):
            yield Static("", id="who", markup=False)
            yield Static("", id="engine", markup=False)

    @property
    def text_width(self) -> int:
        """Columns available for identity and engine together."""
        return self.app.size.width - MARGIN

    def show(self, identity: Content, engine: Content, *, details: str, counts: Mapping[str, int]) -> None:
        """Show the session. ``details`` become the tooltip, ``counts`` are shown on the tabs of screens."""
        self.query_one("#who", Static).update(identity)
        self.query_one("#engine", Static).update(engine)
        self.query_one("#engine", Static).tooltip = Content(details)
        for tab in self.query(ScreenTab):
            tab.set_class(self.app.size.width < FULL_LABEL_WIDTH, "-short")
            tab.show_count(counts.get(tab.screen_name, 0))
