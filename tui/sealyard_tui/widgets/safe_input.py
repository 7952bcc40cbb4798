"""A line of text that may have come from elsewhere: what does not print never reaches the terminal."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Input

UNPRINTABLE = "�"
"""One cell for one character, so that the cursor stays where it is."""


class SafeInput(Input):
    """The value is what it is; only its looks are made harmless."""

    @property
    def _value(self) -> Text:
        shown = super()._value
        shown.plain = "".join(char if char.isprintable() else UNPRINTABLE for char in shown.plain)
        return shown
