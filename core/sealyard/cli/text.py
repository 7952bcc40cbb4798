"""Tables and lists of fields, as lines of plain text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sealyard.model.safe_text import escape_text

MAX_CELL_WIDTH = 60


def format_table(heads: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> Iterator[str]:
    """Lines with columns as wide as they need to be; ``empty`` is said where there are no rows."""
    cells = [[escape_text(str(cell), MAX_CELL_WIDTH) for cell in row] for row in rows]
    if not cells:
        yield empty
        return
    widths = [max(len(row[column]) for row in (list(heads), *cells)) for column in range(len(heads))]
    for row in (list(heads), *cells):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def format_fields(pairs: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Lines of a name and what it is; what is empty is left out."""
    shown = [(name, str(value)) for name, value in pairs if value not in ("", None, ())]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        yield f"{name.ljust(width)}  {value}"
