"""Sizes, times and tables as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from sealyard.model.safe_text import safe_text

WIDEST_CELL = 60
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def size_text(size: int) -> str:
    """Bytes in binary units: ``1.5 MiB``."""
    if size < 1024:  # noqa: PLR2004
        return f"{size} B"
    amount = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024:  # noqa: PLR2004
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def duration_text(seconds: int) -> str:
    """The two largest units that are not zero: ``30d``, ``1h 5m``."""
    parts = []
    for unit, length in _UNITS:
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def time_text(moment: datetime | None) -> str:
    """In the local time zone."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment is not None else ""


def left_text(until: datetime | None, now: datetime) -> str:
    """A moment, and how far away it is."""
    if until is None:
        return ""
    seconds = round((until - now).total_seconds())
    return f"{time_text(until)} ({duration_text(seconds)} left)" if seconds > 0 else f"{time_text(until)} (over)"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> Iterator[str]:
    """Lines with columns as wide as they need to be; ``empty`` is said where there are no rows."""
    cells = [[safe_text(str(cell), WIDEST_CELL) for cell in row] for row in rows]
    if not cells:
        yield empty
        return
    widths = [max(len(row[column]) for row in (list(heads), *cells)) for column in range(len(heads))]
    for row in (list(heads), *cells):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def fields(pairs: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Lines of a name and what it is; what is empty is left out."""
    shown = [(name, str(value)) for name, value in pairs if value not in ("", None, ())]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        yield f"{name.ljust(width)}  {value}"
