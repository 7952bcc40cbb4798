"""A line of text that may have come from elsewhere: what does not print never reaches the terminal."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Input

UNPRINTABLE = "�"
"""One cell for one character, so that the cursor stays where it is."""

PRINTABLE_PATTERN = r"[^\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]*"
"""For an Input that is not ours: controls, and what turns the direction of text or has no width, are not taken."""


def replace_unprintable(text: str) -> str:
    """Of the same length."""
    return "".join(char if char.isprintable() else UNPRINTABLE for char in text)


class SafeInput(Input):
    """The value is what it is; only its looks are made harmless."""

    @property
    def _value(self) -> Text:
        shown = super()._value
        if not self.password:
            shown.plain = replace_unprintable(
                self.value
            )  # Rich leaves some out, and the cursor would stand beside its place
        return shown
