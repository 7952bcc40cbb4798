"""Columns of a table: which of them there is room for, how wide each is, and cells cut and filled to that."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from sealyard.model.base import FrozenStruct

Cell = Content | str
"""A ``str`` is taken as plain text that has been made safe already; a ``Content`` may carry styles."""

GUTTER = 1


class Column(FrozenStruct, frozen=True, kw_only=True):
    """``width`` in cells. What is left over is shared among columns that ``grow``, by their share.

    A column is left out where the table is narrower than ``from_width``, or not narrower than ``below_width``.
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


def column_widths(columns: Sequence[Column], room: int, whole: int) -> tuple[int, ...]:
    """Of each column in cells, 0 where it is left out; ``room`` is what all share of the table's ``whole`` width."""
    shown = [column.fits(whole) for column in columns]
    fixed = sum(column.width for column, seen in zip(columns, shown, strict=True) if seen)
    shares = sum(column.grow for column, seen in zip(columns, shown, strict=True) if seen)
    over = room - fixed - GUTTER * sum(shown)
    return tuple(
        0 if not seen else max(1, column.width + (over * column.grow // shares if shares else 0))
        for column, seen in zip(columns, shown, strict=True)
    )


def fit_cells(columns: Sequence[Column], cells: Sequence[Cell], rooms: Sequence[int]) -> list[Cell]:
    """Cells cut and filled to their ``rooms``, with spaces between."""
    parts: list[Cell] = []
    for column, cell, room in zip(columns, cells, rooms, strict=True):
        if room <= 0:
            continue
        content = cell if isinstance(cell, Content) else Content(cell)
        content = content.truncate(room, ellipsis=True)
        gap = room - content.cell_length
        parts.append(content.pad_left(gap) if column.right else content.pad_right(gap))
        parts.append(" " * GUTTER)
    return parts
