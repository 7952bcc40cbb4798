"""Foreign text made harmless: file names, metadata and messages may carry control and bidi characters."""

from __future__ import annotations


def escape_text(text: str, limit: int = 0) -> str:
    """``text`` with every character that does not print shown as an escape (``\\x1b``, ``\\u202e``).

    Spaces other than U+0020 are escaped too, so that two names that look alike are alike. What is safe already stays
    as it is: a backslash is not doubled, for texts are made safe where they are quoted and again where they are shown.
    With ``limit`` > 0 the outcome is cut to that many characters and ends in ``…``. Markup needs no care here: whoever
    renders markup must take the outcome as plain text.
    """
    # No character becomes less than one, so the rest of a long text would be cut away in any case.
    head = text[: limit + 1] if limit > 0 else text
    shown = "".join(char if char.isprintable() else _escaped(char) for char in head)
    if 0 < limit < len(shown):
        return shown[: limit - 1] + "…"
    return shown


def escape_multiline(text: str) -> str:
    """Like :func:`escape_text`, but keeps line feeds: for texts of several lines."""
    return "\n".join(escape_text(line) for line in text.split("\n"))


def _escaped(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004
        return f"\\x{code:02x}"
    if code <= 0xFFFF:  # noqa: PLR2004
        return f"\\u{code:04x}"
    return f"\\U{code:08x}"
