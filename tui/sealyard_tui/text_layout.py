"""Lines of text with a sign or label, and a hanging indent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual.content import Content

from sealyard.model.formatting import format_count


def format_marked_line(sign: str, text: str, style: str, width: int) -> Content:
    """Return ``text``, which must be safe, after a sign in the same style. It is not wrapped if ``width`` is 0."""
    return indent(Content.styled(f"{sign} ", style), Content.styled(text, style), width)


def indent(label: Content, text: Content, width: int) -> Content:
    """Return ``label`` followed by ``text``, wrapped to ``width`` cells with a hanging indent.

    The text is not wrapped if ``width`` is 0.
    """
    if not width:
        return Content.assemble(label, text)
    line_break = "\n" + " " * label.cell_length
    return Content.assemble(label, Content(line_break).join(text.wrap(max(1, width - label.cell_length))))


def summarize_warnings(warnings: Sequence[str], width: int) -> Content:
    """Return one line with the number of warnings and the first of them, truncated to ``width`` cells if it is not 0.

    ``warnings`` must be safe texts, at least one. :func:`format_warnings` shows them in full.
    """
    line = Content.styled(f"! {format_count(len(warnings), 'warning')}: ", "$warning bold").append(
        Content.styled(warnings[0], "$warning")
    )
    return line.truncate(width, ellipsis=True) if width else line


def format_warnings(warnings: Iterable[str], width: int) -> Content:
    """Return all warnings, which must be safe texts, each on its own lines."""
    return join_lines(format_marked_line("!", each, "$warning", width) for each in warnings)


def join_lines(lines: Iterable[Content]) -> Content:
    """Return the lines as one text."""
    return Content("\n").join(lines)
