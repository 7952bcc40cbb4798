"""Table columns: their visibility and widths, and the truncation or padding of their cells."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from sealyard.model.base import FrozenStruct

Cell = Content | str
"""A ``str`` must be safe to display; a ``Content`` may be styled."""

GUTTER = 1
"""Number of blank character cells after each table column."""


class Column(FrozenStruct, frozen=True, kw_only=True):
    """A table column with a base width of ``width`` character cells.

    Remaining or missing space is distributed among the columns in proportion to ``grow``. A column is hidden if
    the table is narrower than ``from_width`` or at least ``below_width`` wide. ``right``: whether the text is
    right-aligned.
    """

    title: str
    width: int
    grow: int = 0
    from_width: int = 0
    below_width: int = 0
    """0 if there is no limit."""
    right: bool = False

    def fits(self, width: int) -> bool:
        return self.from_width <= width and (not self.below_width or width < self.below_width)


def column_widths(columns: Sequence[Column], available: int, total: int) -> tuple[int, ...]:
    """Return the width of each column; the width of a hidden column is 0.

    ``available``: the number of character cells that the visible columns share. ``total``: the width of the table,
    which determines the columns that are visible.
    """
    visible = [column for column in columns if column.fits(total)]
    total_grow = sum(column.grow for column in visible)
    space = available - sum(column.width + GUTTER for column in visible)
    return tuple(
        max(1, column.width + (space * column.grow // total_grow if total_grow else 0)) if column.fits(total) else 0
        for column in columns
    )


def fit_cells(columns: Sequence[Column], cells: Sequence[Cell], widths: Sequence[int]) -> list[Cell]:
    """Return the cells of the visible columns, truncated or padded to their widths, each followed by a gutter."""
    parts: list[Cell] = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        if width <= 0:
            continue
        content = cell if isinstance(cell, Content) else Content(cell)
        content = content.truncate(width, ellipsis=True)
        padding = width - content.cell_length
        parts.append(content.pad_left(padding) if column.right else content.pad_right(padding))
        parts.append(" " * GUTTER)
    return parts


class ColumnLayout:
    """The column widths of one table, recomputed only when the width of the table changes."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        self._cached_size = (0, 0)
        self._widths: tuple[int, ...] = ()

    def titles(self, available: int, total: int) -> list[Cell]:
        return self.fit([column.title for column in self._columns], available, total)

    def fit(self, cells: Sequence[Cell], available: int, total: int) -> list[Cell]:
        """Return the cells, truncated or padded to the column widths.

        ``available`` and ``total``: see :func:`column_widths`.
        """
        if self._cached_size != (available, total):
            self._cached_size = (available, total)
            self._widths = column_widths(self._columns, available, total)
        return fit_cells(self._columns, cells, self._widths)
