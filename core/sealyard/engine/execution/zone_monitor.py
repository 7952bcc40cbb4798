"""Why the crypto zone of a workspace cannot run jobs at the moment."""

from __future__ import annotations

from msgspec import UNSET

from sealyard.jobs.bus import JobBus
from sealyard.model.errors import SealyardError, ZoneUnavailableError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text
from sealyard.model.zone_status import ZoneStatus
from sealyard.model.zones import ZoneSettings

HOST_TIMEOUT_SECONDS = 8.0
"""A crypto host without a heartbeat for this time is not running."""


class ZoneMonitor:
    """Finds the problem of a zone. ``settings``: None if the workspace has no zone; it has no such problem then."""

    def __init__(self, settings: ZoneSettings | None, bus: JobBus) -> None:
        self.settings = settings
        self._bus = bus

    async def find_problem(self) -> SealyardError | None:
        """Return the error that keeps the zone from running jobs, None if one of its hosts can run them."""
        if self.settings is None:
            return None
        name = escape_text(self.settings.name)
        if self.settings.keys is UNSET:
            return ZoneUnavailableError(f"The crypto zone {name} is not admitted yet.", Hint.of(HintCode.ADMIT_ZONE))
        try:
            status = await self._bus.zone_status()
        except ZoneUnavailableError as error:
            return error
        return None if status is None else _find_problem(name, status)


def _find_problem(name: str, status: ZoneStatus) -> ZoneUnavailableError | None:
    if not status.reachable:
        return ZoneUnavailableError(
            f"The bus database of the crypto zone {name} cannot be used.",
            "Check that it is running, and that the server can reach it.",
        )
    running_hosts = [host for host in status.hosts if host.silent_seconds < HOST_TIMEOUT_SECONDS]
    if not running_hosts:
        return ZoneUnavailableError(
            f"No host of the crypto zone {name} is running.", "Start a crypto host, or check its log."
        )
    if all(host.draining for host in running_hosts):
        return ZoneUnavailableError(
            f"All hosts of the crypto zone {name} finish their jobs and take no others.", "Start a crypto host."
        )
    return None
