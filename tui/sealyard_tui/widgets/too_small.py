"""The notice on terminals that are too small."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

MIN_WIDTH = 60
MIN_HEIGHT = 18


class TooSmall(Static):
    """Covers everything, so that focus and typed text are kept."""

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
