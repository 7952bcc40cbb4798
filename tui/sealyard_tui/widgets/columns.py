"""Table columns: their visibility and widths, and the truncation or padding of their cells."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from textual.content import Content

from sealyard.model.base import FrozenStruct
from sealyard_tui.widgets.sort_order import SortOrder

Cell = Content | str
"""A ``str`` must be safe to display; a ``Content`` may be styled."""

GUTTER = 1
"""Number of blank character cells after each table column."""

ASCENDING, DESCENDING = "▲", "▼"


class Column(FrozenStruct, frozen=True, kw_only=True):
    """A table column with a base width of ``width`` character cells.

    ``key`` identifies the column in the saved state; columns that show the same value in different widths have the same
    key. If the table is too narrow for all base widths, columns shrink to ``min_width``, and then vanish, in the order
    of ``give_way``: 1 first, and 0 last. Columns with 0 never vanish; they shrink below their minimum in proportion to
    ``grow`` instead. Remaining space is distributed in proportion to ``grow``, up to ``max_width``. A column is hidden
    if the table is narrower than ``from_width`` or at least ``below_width`` wide. ``right``: whether the text is
    right-aligned.
    """

    title: str
    width: int
    key: str = ""
    grow: int = 0
    min_width: int = 0
    """0 if the column cannot be narrower than ``width``."""
    max_width: int = 0
    """0 if there is no limit."""
    give_way: int = 0
    from_width: int = 0
    below_width: int = 0
    """0 if there is no limit."""
    right: bool = False

    def fits(self, width: int) -> bool:
        return self.from_width <= width and (not self.below_width or width < self.below_width)

    @property
    def smallest_width(self) -> int:
        return self.min_width or self.width


def join_cells(cells: Sequence[Cell]) -> str:
    """Return the text that a row shows, in lowercase, with one line for each cell."""
    return "\n".join(cell if isinstance(cell, str) else cell.plain for cell in cells).casefold()


def column_widths(
    columns: Sequence[Column], available: int, total: int, hidden: Collection[str] = ()
) -> tuple[int, ...]:
    """Return the width of each column; the width of a hidden column is 0.

    ``available``: the number of character cells that the visible columns share. ``total``: the width of the table,
    which determines the columns that are visible. ``hidden``: keys of the columns that the user has hidden.
    """
    visible = [
        index for index, column in enumerate(columns) if column.fits(total) and not (hidden and column.key in hidden)
    ]
    _remove_columns(columns, visible, available)
    widths = {index: columns[index].smallest_width for index in visible}
    space = available - sum(widths.values()) - GUTTER * len(visible)
    for index in sorted(visible, key=lambda index: (columns[index].give_way > 0, -columns[index].give_way)):
        extra = max(0, min(space, columns[index].width - widths[index]))
        widths[index] += extra
        space -= extra
    _distribute(columns, widths, space)
    return tuple(max(1, widths[index]) if index in widths else 0 for index in range(len(columns)))


def _remove_columns(columns: Sequence[Column], visible: list[int], available: int) -> None:
    """Remove columns from ``visible`` until the others fit at their smallest widths."""
    for index in sorted((each for each in visible if columns[each].give_way), key=lambda each: columns[each].give_way):
        if sum(columns[each].smallest_width + GUTTER for each in visible) <= available:
            return
        visible.remove(index)


def _distribute(columns: Sequence[Column], widths: dict[int, int], space: int) -> None:
    """Distribute the remaining or missing ``space`` among the growing columns that have not reached their maximum."""
    growing = [index for index in widths if columns[index].grow]
    while growing and space:
        total_grow = sum(columns[index].grow for index in growing)
        limited = {
            index: columns[index].max_width
            for index in growing
            if 0 < columns[index].max_width < widths[index] + space * columns[index].grow // total_grow
        }
        if not limited:
            for index in growing:
                widths[index] += space * columns[index].grow // total_grow
            return
        for index, max_width in limited.items():
            space -= max(0, max_width - widths[index])
            widths[index] = max(widths[index], max_width)
        growing = [index for index in growing if index not in limited]


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
    """The column widths of one table, recomputed only when its width or the choice of columns changes.

    ``order``: the sort order, shown in the title of its column. ``hidden``: keys of the columns that the user has
    hidden.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.order = SortOrder()
        self._hidden: frozenset[str] = frozenset()
        self._cached_size = (0, 0)
        self._widths: tuple[int, ...] = ()

    @property
    def hidden(self) -> frozenset[str]:
        return self._hidden

    @hidden.setter
    def hidden(self, keys: frozenset[str]) -> None:
        self._hidden = keys
        self._cached_size = (0, 0)

    def titles(self, available: int, total: int) -> list[Cell]:
        widths = self._get_widths(available, total)
        titles = [self._title(column, width) for column, width in zip(self.columns, widths, strict=True)]
        return fit_cells(self.columns, titles, widths)

    def _title(self, column: Column, width: int) -> str:
        if not column.key or column.key != self.order.column:
            return column.title
        arrow = DESCENDING if self.order.descending else ASCENDING
        return column.title[: max(0, width - 1)] + arrow

    def fit(self, cells: Sequence[Cell], available: int, total: int) -> list[Cell]:
        """Return the cells, truncated or padded to the column widths.

        ``available`` and ``total``: see :func:`column_widths`.
        """
        return fit_cells(self.columns, cells, self._get_widths(available, total))

    def column_at(self, x: int, available: int, total: int) -> Column | None:
        """Return the column at the cell ``x``, counted from the left edge of the first column."""
        for column, width in zip(self.columns, self._get_widths(available, total), strict=True):
            if 0 <= x < width:
                return column
            x -= width + GUTTER if width else 0
        return None

    def _get_widths(self, available: int, total: int) -> tuple[int, ...]:
        if self._cached_size != (available, total):
            self._cached_size = (available, total)
            self._widths = column_widths(self.columns, available, total, self._hidden)
        return self._widths
