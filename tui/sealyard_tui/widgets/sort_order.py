"""The sort order of a table: a column and a direction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Self, TypeVar

from sealyard.model.base import FrozenStruct

Row = TypeVar("Row")

_DESCENDING_SUFFIX = ":descending"


class SortOrder(FrozenStruct, frozen=True, kw_only=True):
    """A sort order. ``column``: the key of a column; empty for the natural order of the list."""

    column: str = ""
    descending: bool = False

    @classmethod
    def parse(cls, text: str, columns: Collection[str]) -> Self:
        """Return the order from its saved form; the default order if its column is not one of ``columns``."""
        column = text.removesuffix(_DESCENDING_SUFFIX)
        if column not in columns:
            return cls()
        return cls(column=column, descending=text.endswith(_DESCENDING_SUFFIX))

    def __str__(self) -> str:
        """Return the saved form, which :meth:`parse` reads."""
        return self.column + (_DESCENDING_SUFFIX if self.descending else "")

    def select(self, column: str) -> Self:
        """Return the order after the user has selected ``column``.

        If it is the current column, the direction is reversed, and after both directions, the natural order is
        restored, if there is one.
        """
        natural_order = type(self)()
        if column == self.column and self.descending and not natural_order.column:
            return natural_order
        return type(self)(column=column, descending=column == self.column and not self.descending)


def sort_rows(rows: Iterable[Row], order: SortOrder, values: Mapping[str, Callable[[Row], Any]]) -> list[Row]:
    """Return sorted rows. Rows with equal values, or all rows in the natural order, keep their order.

    ``values``: functions that return the value by which rows are sorted, by column.
    """
    if order.column not in values:
        return list(rows)
    return sorted(rows, key=values[order.column], reverse=order.descending)
