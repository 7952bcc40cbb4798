"""Rendering of the lines of a table: header, rows, and the placeholder text of an empty table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic

from rich.segment import Segment
from textual.content import Content
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.style import Style

from sealyard_tui.widgets.columns import Cell, Column, ColumnLayout
from sealyard_tui.widgets.row_store import Row

MARKER_WIDTH = 2
"""Width, in character cells, of the cursor marker and the row mark before the first column."""

PLACEHOLDER_WIDTH = 64
"""Maximum width, in character cells, of the placeholder text."""


class TablePainter(Generic[Row]):
    """Renderer for the lines of a table. ``cells`` returns the cells of a row; it is called for painted rows only."""

    def __init__(
        self, widget: ScrollView, columns: Sequence[Column], cells: Callable[[Row], Sequence[Cell]], empty_text: str
    ) -> None:
        """Create the renderer. ``widget``: the table, which defines the styles and the width."""
        self.layout = ColumnLayout(columns)
        self.empty_text = empty_text
        self._widget = widget
        self._cells = cells

    @property
    def _width(self) -> int:
        return self._widget.scrollable_content_region.width

    def paint_header(self) -> Strip:
        titles = self.layout.titles(self._width - MARKER_WIDTH, self._widget.size.width)
        style = self._widget.get_visual_style("virtual-table--head")
        return self._paint(Content.assemble(" " * MARKER_WIDTH, *titles), style)

    def column_at(self, x: int) -> Column | None:
        """Return the column at the cell ``x`` of a line."""
        return self.layout.column_at(x - MARKER_WIDTH, self._width - MARKER_WIDTH, self._widget.size.width)

    def paint_row(self, row: Row, *, at_cursor: bool, marked: bool) -> Strip:
        style = self._widget.get_visual_style("virtual-table--marked") if marked else self._widget.visual_style
        if at_cursor:
            style = self._cursor_style()
        cells = self.layout.fit(self._cells(row), self._width - MARKER_WIDTH, self._widget.size.width)
        return self._paint(Content.assemble(_markers(at_cursor, marked), *cells), style)

    def paint_blank_line(self) -> Strip:
        return self._paint(Content(""), self._widget.visual_style)

    def paint_placeholder_line(self, y: int) -> Strip:
        """Return a line of an empty table: the placeholder text in the middle, its first line in bold."""
        heading, _, hint = self.empty_text.partition("\n")
        width = max(1, min(PLACEHOLDER_WIDTH, self._width - 2))
        lines = [*Content.styled(heading, "bold").wrap(width), *(Content(hint).wrap(width) if hint else ())]
        index = y - max(0, (self._widget.size.height - len(lines)) // 3)
        if not 0 <= index < len(lines):
            return self.paint_blank_line()
        margin = (self._width - max(line.cell_length for line in lines)) // 2
        return self._paint(Content.assemble(" " * margin, lines[index]), self._widget.visual_style)

    def _cursor_style(self) -> Style:
        """Return the style of the cursor, including ``reverse``, which Textual omits from visual styles."""
        name = "virtual-table--cursor"
        reverse = self._widget.get_component_styles(name).text_style.reverse
        return self._widget.get_visual_style(name) + Style(reverse=reverse)

    def _paint(self, content: Content, style: Style) -> Strip:
        """Render one line. Textual's own method also wraps text and detects links, and takes twice as long."""
        parts = content.render(style, end="", parse_style=self._widget._get_style)
        return Strip([Segment(text, part_style.rich_style) for text, part_style in parts]).adjust_cell_length(
            self._width, style.rich_style
        )


def _markers(at_cursor: bool, marked: bool) -> str:
    return ("▶" if at_cursor else " ") + ("●" if marked else " ")
