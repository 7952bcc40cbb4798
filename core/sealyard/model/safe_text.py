"""Escape untrusted text: file names, metadata and messages may contain control and bidirectional characters."""

from __future__ import annotations


def escape_text(text: str, limit: int = 0) -> str:
    """Return ``text`` with every non-printable character replaced by an escape sequence (``\\x1b``, ``\\u202e``).

    Spaces other than U+0020 are escaped too, so that two different names cannot have the same appearance. Backslashes
    are not doubled, so escaping twice is harmless: texts are escaped when they are quoted and again when they are
    displayed. If ``limit`` > 0, a longer result is truncated to that many characters and ends in ``…``. Markup is not
    escaped: a caller that renders markup must treat the result as plain text.
    """
    # Escaping never shortens a text, so the input can be truncated first without changing a truncated result.
    head = text[: limit + 1] if limit > 0 else text
    escaped = "".join(char if char.isprintable() else _escape_char(char) for char in head)
    if 0 < limit < len(escaped):
        return escaped[: limit - 1] + "…"
    return escaped


def escape_multiline(text: str) -> str:
    """Escape ``text`` like :func:`escape_text`, but keep line feeds."""
    return "\n".join(escape_text(line) for line in text.split("\n"))


def _escape_char(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004
        return f"\\x{code:02x}"
    if code <= 0xFFFF:  # noqa: PLR2004
        return f"\\u{code:04x}"
    return f"\\U{code:08x}"
