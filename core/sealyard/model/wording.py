"""Sizes, times and spans as people read them, the same in every front end."""

from __future__ import annotations

from datetime import datetime

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
