"""One version of a device configuration in full, under the list or over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from sealyard_tui.widgets.reading_pane import ReadingPane


class DeviceDetail(ReadingPane):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False, id="devices.detail_down"),
        Binding("k", "scroll_up", "Up", show=False, id="devices.detail_up"),
        Binding("ctrl+d", "page_down", "Page down", show=False, id="devices.detail_page_down"),
        Binding("ctrl+u", "page_up", "Page up", show=False, id="devices.detail_page_up"),
        Binding("g", "scroll_home", "First", show=False, id="devices.detail_first"),
        Binding("G", "scroll_end", "Last", show=False, id="devices.detail_last"),
    ]

    def __init__(self) -> None:
        super().__init__(id="detail", classes="pane")
        self.border_title = Content("Configuration")
        self._words: Callable[[int], Content] = lambda _: Content("")

    def compose(self) -> ComposeResult:
        yield Static("", markup=False)

    def show(self, words: Callable[[int], Content]) -> None:
        """``words``: what is seen, for a width in cells."""
        self._words = words
        self._set()

    def on_resize(self) -> None:
        self._set()

    def _set(self) -> None:
        self.query_one(Static).update(self._words(self.scrollable_content_region.width))
