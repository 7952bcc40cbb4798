"""Detail pane of the device configurations screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.widgets import Static

from sealyard_tui.widgets.pane_title import set_pane_title
from sealyard_tui.widgets.scroll_pane import ScrollPane, scroll_bindings


class DeviceDetailPane(ScrollPane):
    """Pane that shows all details of a configuration version, below the list or instead of it."""

    BINDINGS: ClassVar[list[BindingType]] = scroll_bindings("devices.detail_")

    def __init__(self) -> None:
        super().__init__(id="detail", classes="pane")
        set_pane_title(self, "Configuration")
        self._render_text: Callable[[int], Content] = lambda _: Content("")

    def compose(self) -> ComposeResult:
        yield Static("", markup=False)

    def show(self, render_text: Callable[[int], Content]) -> None:
        """Show the text returned by ``render_text``.

        ``render_text`` is called with the width of the pane in cells, now and after each resize.
        """
        self._render_text = render_text
        self._update_text()

    def on_resize(self) -> None:
        self._update_text()

    def _update_text(self) -> None:
        self.query_one(Static).update(self._render_text(self.scrollable_content_region.width))
