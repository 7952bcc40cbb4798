"""The message shown if the terminal is too small."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from sealyard_tui.action_keys import action_key

MIN_WIDTH = 60
MIN_HEIGHT = 18


class TooSmall(Static):
    """A message that covers the whole screen. The widgets underneath keep their focus and contents."""

    DEFAULT_CSS = """
    TooSmall {
        layer: notice; display: none; width: 100%; height: 100%; padding: 0 1; background: $background;
    }
    """

    def __init__(self, min_width: int = MIN_WIDTH, min_height: int = MIN_HEIGHT) -> None:
        super().__init__()
        self._min_width = min_width
        self._min_height = min_height

    def render(self) -> Content:
        size = self.screen.size
        quit_key = action_key(self.app, "app.quit")
        return Content.assemble(
            Content.styled("! Terminal too small\n\n", "bold $warning"),
            f"Sealyard needs {self._min_width} columns and {self._min_height} lines; this terminal has {size.width} "
            f"and {size.height}. Resize it; nothing is lost. Press {quit_key} to quit.",
        )

    def on_resize(self) -> None:
        self.refresh()
