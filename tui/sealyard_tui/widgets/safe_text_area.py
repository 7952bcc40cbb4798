"""A text area for possibly untrusted text: unprintable characters are not sent to the terminal."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import TextArea

from sealyard_tui.widgets.safe_input import replace_unprintable


class SafeTextArea(TextArea):
    """A text area that displays a replacement for each unprintable character, without changing its text."""

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        # Tabs are kept because Textual expands them later. Rich would remove other unprintable characters and
        # misplace the cursor.
        line.plain = "\t".join(map(replace_unprintable, self.document.get_line(line_index).split("\t")))
        return line
