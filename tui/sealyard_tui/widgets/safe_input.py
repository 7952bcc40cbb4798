"""An input for possibly untrusted text: unprintable characters are not sent to the terminal."""

from __future__ import annotations

from typing import Any

from rich.highlighter import Highlighter
from rich.text import Text
from textual.widgets import Input

UNPRINTABLE = "�"
"""The replacement character. It is one cell wide, which keeps the cursor position correct."""

PRINTABLE_PATTERN = r"[^\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*"
"""``restrict`` pattern for Textual's inputs: rejects control, zero-width and bidirectional formatting characters."""


def replace_unprintable(text: str) -> str:
    """Return ``text`` with each unprintable character replaced by one :data:`UNPRINTABLE`."""
    return "".join(char if char.isprintable() else UNPRINTABLE for char in text)


class _PrintableText(Highlighter):
    """A highlighter that replaces unprintable characters. Rich would remove some of them and misplace the cursor."""

    def __init__(self, input_widget: Input) -> None:
        self._input = input_widget

    def highlight(self, text: Text) -> None:
        text.plain = replace_unprintable(self._input.value)


class SafeInput(Input):
    """An input that displays a replacement for each unprintable character, without changing its value."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.highlighter = _PrintableText(self)
