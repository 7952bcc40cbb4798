"""An input for text that may be foreign: unprintable characters never reach the terminal."""

from __future__ import annotations

from typing import Any

from rich.highlighter import Highlighter
from rich.text import Text
from textual.widgets import Input

UNPRINTABLE = "�"
"""The replacement, which is one cell wide, so that the cursor position is correct."""

PRINTABLE_PATTERN = r"[^\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*"
"""Restriction for Textual's inputs: rejects control characters and characters without width or with direction."""


def replace_unprintable(text: str) -> str:
    """Return ``text`` with each unprintable character replaced by one :data:`UNPRINTABLE`."""
    return "".join(char if char.isprintable() else UNPRINTABLE for char in text)


class _PrintableText(Highlighter):
    """Replaces the displayed text. Rich would drop some characters, so that the cursor position would be wrong."""

    def __init__(self, input_widget: Input) -> None:
        self._input = input_widget

    def highlight(self, text: Text) -> None:
        text.plain = replace_unprintable(self._input.value)


class SafeInput(Input):
    """Displays a replacement for each unprintable character; the value is unchanged."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.highlighter = _PrintableText(self)
