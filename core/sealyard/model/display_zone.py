"""The time zone in which a process displays times, and reads times that are entered without a UTC offset."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timezone, tzinfo

from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

LOCAL = "local"
"""Name of the system's time zone."""


def load_zone(name: str) -> tzinfo | None:
    """Return the time zone called ``name``: ``local`` (None), ``UTC`` or an IANA name such as ``Europe/Berlin``.

    Raises :class:`UsageError` if the name is unknown.
    """
    if name == LOCAL:
        return None
    if name == "UTC":
        return UTC
    import zoneinfo  # imported here because few users set a time zone

    try:
        return zoneinfo.ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise UsageError(
            f"Unknown time zone '{escape_text(name, 60)}'.",
            f"Set time_zone to {LOCAL}, UTC or an IANA name such as Europe/Berlin.",
        ) from None


class DisplayZone:
    """The time zone of displayed times. It is the system's zone until :meth:`use` or :meth:`use_later` is called."""

    def __init__(self) -> None:
        self._load: Callable[[], tzinfo | None] | None = None
        self._zone: tzinfo | None = None

    def use(self, name: str) -> None:
        """Use the time zone called ``name``. Raises :class:`UsageError` if it is unknown."""
        self._zone = load_zone(name)
        self._load = None

    def use_later(self, load: Callable[[], tzinfo | None]) -> None:
        """Use the time zone that ``load`` returns. It is called when the first time is displayed or parsed."""
        self._load = load

    def convert(self, moment: datetime) -> datetime:
        """Return ``moment`` in this time zone."""
        return moment.astimezone(self._current())

    def fixed_at(self, moment: datetime) -> tzinfo:
        """Return the UTC offset at ``moment`` as a time zone, for columns that have the zone in the title."""
        local = self.convert(moment)
        offset = local.utcoffset()
        assert offset is not None, "a converted time has an offset"
        return timezone(offset, local.tzname() or "")

    def parse(self, text: str) -> datetime:
        """Parse an ISO 8601 time, which is in this time zone unless it has a UTC offset. Raises ValueError."""
        moment = datetime.fromisoformat(text)
        zone = self._current()
        return moment.replace(tzinfo=zone) if moment.tzinfo is None and zone is not None else moment.astimezone(zone)

    def _current(self) -> tzinfo | None:
        if self._load is not None:
            load, self._load = self._load, None
            self._zone = load()
        return self._zone


display_zone = DisplayZone()
"""The time zone of this process."""
