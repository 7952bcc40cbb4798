"""Lines of text with a sign or label, and a hanging indent."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content


def format_marked_line(sign: str, text: str, style: str, width: int) -> Content:
    """Return ``text``, which must be safe, after a sign in the same style."""
    return indent(Content.styled(f"{sign} ", style), Content.styled(text, style), width)


def indent(label: Content, text: Content, width: int) -> Content:
    """Return ``label`` followed by ``text``, wrapped to ``width`` cells with a hanging indent."""
    line_break = "\n" + " " * label.cell_length
    return Content.assemble(label, Content(line_break).join(text.wrap(max(1, width - label.cell_length))))


def join_lines(lines: Iterable[Content]) -> Content:
    """Return the lines as one text."""
    return Content("\n").join(lines)
