"""A text area for foreign text: unprintable characters never reach the terminal."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import TextArea

from sealyard_tui.widgets.safe_input import replace_unprintable


class SafeTextArea(TextArea):
    """Keeps the text as it is, and shows a replacement for each unprintable character."""

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        # Tabs are expanded later. Rich drops some other characters, which would move the cursor off its place.
        line.plain = "\t".join(map(replace_unprintable, self.document.get_line(line_index).split("\t")))
        return line
