"""An input for text that may be foreign: unprintable characters never reach the terminal."""

from __future__ import annotations

from typing import Any

from rich.highlighter import Highlighter
from rich.text import Text
from textual.widgets import Input

UNPRINTABLE = "�"
"""One cell for each character, so that the cursor stays at its place."""

PRINTABLE_PATTERN = r"[^\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*"
"""Restriction for inputs of Textual: rejects controls, and characters that have no width or change direction."""


def replace_unprintable(text: str) -> str:
    """Return text of the same length in which unprintable characters are replaced."""
    return "".join(char if char.isprintable() else UNPRINTABLE for char in text)


class _PrintableText(Highlighter):
    """Replaces what an input shows. Rich drops some characters instead, which would move the cursor off its place."""

    def __init__(self, source: Input) -> None:
        self._source = source

    def highlight(self, text: Text) -> None:
        text.plain = replace_unprintable(self._source.value)


class SafeInput(Input):
    """Keeps its value as it is, and shows a replacement for each unprintable character."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.highlighter = _PrintableText(self)
