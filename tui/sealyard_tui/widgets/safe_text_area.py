"""Lines of text that may have come from elsewhere: what does not print never reaches the terminal."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import TextArea

from sealyard_tui.widgets.safe_input import replace_unprintable


class SafeTextArea(TextArea):
    """The text is what it is; only its looks are made harmless."""

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        # Tabs are made spaces later. Rich leaves some others out, and the cursor would stand beside its place.
        line.plain = "\t".join(map(replace_unprintable, self.document.get_line(line_index).split("\t")))
        return line
