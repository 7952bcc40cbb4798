"""Columns of a table: which ones fit, how wide each is, and cells truncated or padded to that width."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from sealyard.model.base import FrozenStruct

Cell = Content | str
"""A ``str`` must be safe text; a ``Content`` may have styles."""

GUTTER = 1


class Column(FrozenStruct, frozen=True, kw_only=True):
    """``width`` in cells. Remaining space is distributed to the columns that ``grow``, in proportion.

    A column is hidden in a table narrower than ``from_width``, and in one that is at least ``below_width`` wide.
    """

    title: str
    width: int
    grow: int = 0
    from_width: int = 0
    below_width: int = 0
    """0: no limit."""
    right: bool = False

    def fits(self, width: int) -> bool:
        return self.from_width <= width and (not self.below_width or width < self.below_width)


def column_widths(columns: Sequence[Column], available: int, total: int) -> tuple[int, ...]:
    """Return the width of each column, 0 if hidden. ``available`` is what the columns share of the ``total`` width."""
    shown = [column.fits(total) for column in columns]
    fixed = sum(column.width for column, visible in zip(columns, shown, strict=True) if visible)
    shares = sum(column.grow for column, visible in zip(columns, shown, strict=True) if visible)
    remaining = available - fixed - GUTTER * sum(shown)
    return tuple(
        0 if not visible else max(1, column.width + (remaining * column.grow // shares if shares else 0))
        for column, visible in zip(columns, shown, strict=True)
    )


def fit_cells(columns: Sequence[Column], cells: Sequence[Cell], widths: Sequence[int]) -> list[Cell]:
    """Return the cells truncated or padded to their widths, with gutters between."""
    parts: list[Cell] = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        if width <= 0:
            continue
        content = cell if isinstance(cell, Content) else Content(cell)
        content = content.truncate(width, ellipsis=True)
        gap = width - content.cell_length
        parts.append(content.pad_left(gap) if column.right else content.pad_right(gap))
        parts.append(" " * GUTTER)
    return parts


class ColumnLayout:
    """Fits cells to the columns of one table. Widths are computed again only if the table's width changed."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        self._computed_for = (0, 0)
        self._widths: tuple[int, ...] = ()

    def titles(self, available: int, total: int) -> list[Cell]:
        return self.fit([column.title for column in self._columns], available, total)

    def fit(self, cells: Sequence[Cell], available: int, total: int) -> list[Cell]:
        """Return the cells fitted to ``available`` cells of a table that is ``total`` wide."""
        if self._computed_for != (available, total):
            self._computed_for = (available, total)
            self._widths = column_widths(self._columns, available, total)
        return fit_cells(self._columns, cells, self._widths)
