"""Sizes, times and spans as people read them, the same in every front end."""

from __future__ import annotations

import re
from datetime import datetime

from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Decision, DecisionOrigin

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_DURATION = re.compile(r"([0-9]{1,10})([smhdw]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def format_size(size: int) -> str:
    """Bytes in binary units: ``1.5 MiB``."""
    if size < 1024:  # noqa: PLR2004
        return f"{size} B"
    amount = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if round(amount, 1) < 1024:  # noqa: PLR2004
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def format_size_exact(size: int) -> str:
    """``1.5 MiB (1,572,864 bytes)``, and ``95 B`` where that says it all."""
    return f"{format_size(size)} ({size:,} bytes)" if size >= 1024 else format_size(size)  # noqa: PLR2004


def format_duration(seconds: int) -> str:
    """The two largest units that are not zero: ``30d``, ``1h 5m``."""
    parts = []
    for unit, length in _UNITS:
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def parse_duration(text: str) -> int:
    """Seconds: ``90s``, ``30m``, ``24h``, ``30d``, ``2w``, or several as in ``1h 30m``; a bare number counts seconds.

    Raises :class:`UsageError`.
    """
    found = [_DURATION.fullmatch(each) for each in text.split()]
    if not found or not all(found):
        raise UsageError(f"{escape_text(text, 40)!r} is no duration.", "Write 90s, 30m, 24h or 30d.")
    return sum(int(each[1]) * _SECONDS[each[2]] for each in found if each is not None)


def format_time(moment: datetime | None) -> str:
    """In the local time zone."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}" if moment is not None else ""


def format_decider(decision: Decision) -> str:
    """Who, and what is recorded of how: ``USER:anna (at a terminal, with one-time password)``."""
    where = {DecisionOrigin.TERMINAL: "at a terminal", DecisionOrigin.MACHINE: "a machine client", None: ""}[
        decision.origin
    ]
    how = "with one-time password" if decision.one_time_password else ""
    known = ", ".join(each for each in (where, how) if each)
    return f"{decision.by} ({known})" if known else decision.by


def format_time_left(until: datetime | None, now: datetime) -> str:
    """A moment, and how far away it is."""
    if until is None:
        return ""
    seconds = round((until - now).total_seconds())
    return f"{format_time(until)} ({format_duration(seconds)} left)" if seconds > 0 else f"{format_time(until)} (over)"
