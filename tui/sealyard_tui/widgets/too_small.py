"""What is seen instead of a place where there are too few cells for it."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

MIN_WIDTH = 60
MIN_HEIGHT = 18


class TooSmall(Static):
    """Lies over everything, so that what has the focus and what was typed stay as they are."""

    DEFAULT_CSS = """
    TooSmall {
        layer: notice; display: none; width: 100%; height: 100%; padding: 0 1; background: $background;
    }
    """

    def render(self) -> Content:
        size = self.screen.size
        return Content.assemble(
            Content.styled("! Too small a window\n\n", "bold $warning"),
            f"Sealyard needs {MIN_WIDTH} columns and {MIN_HEIGHT} lines; there are {size.width} and {size.height}. "
            "Make it larger, or its letters smaller: everything is as it was. q quits.",
        )

    def on_resize(self) -> None:
        self.refresh()
