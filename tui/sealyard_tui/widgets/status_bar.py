"""The top of every place: the places and their keys, who one is, where, how the engine does, what four eyes means."""

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
"""Cells beside the words."""

FULL_LABEL_WIDTH = 70
"""Columns from which on every place's name fits, with two digits of what waits."""

SHORT_LABEL = 7


class ScreenTab(Static):
    """One place's name and key; a click goes there."""

    class Clicked(Message):
        def __init__(self, place: str) -> None:
            super().__init__()
            self.place = place

    def __init__(self, place: str, key: str, label: str, *, here: bool) -> None:
        super().__init__(classes="here" if here else "")
        self.place = place
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
        self.post_message(self.Clicked(self.place))


class StatusBar(Vertical):
    def __init__(self, places: dict[str, tuple[str, str]], here: str) -> None:
        """``places``: key and label of each."""
        super().__init__()
        self._places = places
        self._here = here

    def compose(self) -> ComposeResult:
        with Horizontal(classes="tabs"):
            for place, (key, label) in self._places.items():
                yield ScreenTab(place, key, label, here=place == self._here)
        with Horizontal(classes="standing"):
            yield Static("", id="who", markup=False)
            yield Static("", id="engine", markup=False)

    @property
    def text_width(self) -> int:
        """Columns that there are for identity and engine together."""
        return self.app.size.width - MARGIN

    def show(self, identity: Content, engine: Content, *, details: str, counts: Mapping[str, int]) -> None:
        """Show the session. ``details`` become the tooltip, ``counts`` are shown on the tabs of screens."""
        self.query_one("#who", Static).update(identity)
        self.query_one("#engine", Static).update(engine)
        self.query_one("#engine", Static).tooltip = Content(details)
        for tab in self.query(ScreenTab):
            tab.set_class(self.app.size.width < FULL_LABEL_WIDTH, "-short")
            tab.show_count(counts.get(tab.place, 0))
