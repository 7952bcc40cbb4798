"""Format the state of a crypto zone for display. Used by all front ends."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from sealyard.model.formatting import format_count, format_duration, format_seconds
from sealyard.model.safe_text import escape_text
from sealyard.model.zone_status import CryptoHostStatus, ZoneStatus

MAX_SILENT_SECONDS = 8.0
"""After how many seconds without a heartbeat the state of a host says so. The engine has given up its jobs by then."""

_BRIEF_SECONDS = 2.0
"""Shorter times without a heartbeat are normal."""


class HostState(StrEnum):
    """Whether a host takes jobs. A BUSY one takes more jobs, but executes one for each of its workers already."""

    READY = "ready"
    BUSY = "busy"
    DRAINING = "draining"
    NO_CONTACT = "no contact"


def host_state(host: CryptoHostStatus) -> HostState:
    if host.silent_seconds > MAX_SILENT_SECONDS:
        return HostState.NO_CONTACT
    if host.draining:
        return HostState.DRAINING
    return HostState.BUSY if host.running_jobs >= host.slots else HostState.READY


def format_last_contact(host: CryptoHostStatus) -> str:
    """Format the time since the last heartbeat of a host: ``now``, ``12s ago``."""
    if host.silent_seconds <= _BRIEF_SECONDS:
        return "now"
    return f"{format_duration(round(host.silent_seconds))} ago"


def format_zone(status: ZoneStatus) -> str:
    """Format a zone and the number of its hosts and waiting tasks as safe text."""
    name = escape_text(status.name)
    if not status.reachable:
        return f"{name}: not reachable"
    return f"{name}: {format_count(len(status.hosts), 'host')}, {format_count(status.queued, 'waiting task')}"


def list_zone_warnings(status: ZoneStatus) -> Iterator[str]:
    """Yield what keeps the zone from executing tasks, or protects its keys less than intended, as safe text."""
    name = escape_text(status.name)
    if not status.reachable:
        yield f"The bus database of the crypto zone {name} cannot be reached. Tasks wait until it can."
        return
    if not any(host_state(host) in (HostState.READY, HostState.BUSY) for host in status.hosts):
        yield f"No host of the crypto zone {name} takes jobs. Tasks wait until one is started."
    if status.report_lag > MAX_SILENT_SECONDS:
        lag = format_seconds(round(status.report_lag))
        yield f"The oldest report of the crypto zone {name} has waited for {lag}."
    for host in status.hosts:
        for measure in host.refused:
            yield (
                f"The crypto workers on {escape_text(host.hostname)} run without the protection"
                f" {escape_text(measure.name)}: {escape_text(measure.reason)}."
            )
