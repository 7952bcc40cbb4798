"""What is seen instead of a place where there are too few cells for it."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

LEAST_WIDTH = 60
LEAST_HEIGHT = 18


class TooSmall(Static):
    """Lies over everything, so that what has the focus and what was typed stay as they are."""

    DEFAULT_CSS = """
    TooSmall {
        layer: notice; display: none; width: 100%; height: 100%; padding: 1 2; background: $background;
    }
    """

    def render(self) -> Content:
        size = self.screen.size
        return Content.assemble(
            Content.styled("! This window is too small.\n\n", "bold $warning"),
            f"Sealyard needs {LEAST_WIDTH} columns and {LEAST_HEIGHT} lines; there are {size.width} and {size.height}. "
            "Make the window larger, or its letters smaller: everything is as it was.\n\n",
            "q quits.",
        )

    def on_resize(self) -> None:
        self.refresh()
