"""The dialog about the open workspace: where it is, and which server and crypto hosts serve it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from textual.app import App

from sealyard.model.access import Action, ResourceType, resource_type_uri
from sealyard.model.formatting import format_count
from sealyard.model.requests import WorkspaceInfo
from sealyard.model.safe_text import escape_text
from sealyard.model.zone_format import format_last_contact, format_zone, host_state, list_zone_warnings
from sealyard.model.zone_status import CryptoHostStatus, ZoneStatus
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.session.session import Session
from sealyard_tui.session.state import SessionState

_NAME_WIDTH = 14
_NO_PERMISSION = "not shown; you do not have permission to view keys"


async def show_about(app: App[Any], session: Session, state: SessionState) -> None:
    """Load the state of the workspace and its crypto zone, and show it."""
    client = await session.client()
    info = await client.workspace()
    # Without permission, the request would be rejected, and every rejection is recorded in the audit log.
    may_view_zone = state.is_allowed(Action.VIEW, resource_type_uri(ResourceType.KEY))
    zone = await client.zone_status() if may_view_zone else None
    text = "\n".join(format_about(info, zone, may_view_zone=may_view_zone))
    app.push_screen(TextDialog(f"About {escape_text(info.name, 40)}", text))


def format_about(info: WorkspaceInfo, zone: ZoneStatus | None, *, may_view_zone: bool) -> Iterator[str]:
    """Yield the lines of the dialog as safe text. ``may_view_zone``: whether ``zone`` is known."""
    entries = format_count(info.audit_size, "entry", "entries")
    yield _format_field("Workspace", info.name)
    yield _format_field("Location", info.location)
    if info.server:
        yield _format_field("Active server", info.server)
    yield _format_field("Key store", info.key_store)
    yield _format_field("Audit log", f"{entries}, {info.audit_checkpointed:,} checkpointed")
    yield _format_field("Crypto zone", _format_zone(zone) if may_view_zone else _NO_PERMISSION)
    if zone is not None:
        yield from _format_hosts(zone)


def _format_zone(zone: ZoneStatus | None) -> str:
    return format_zone(zone) if zone is not None else "none, workers beside the engine execute the tasks"


def _format_hosts(zone: ZoneStatus) -> Iterator[str]:
    for host in zone.hosts:
        yield ""
        yield _format_field("Crypto host", host.hostname)
        yield _format_field("", _format_host(host))
        yield _format_field("", f"version {host.version}, named {host.name}")
    for warning in list_zone_warnings(zone):
        yield ""
        yield f"‼ {warning}"


def _format_host(host: CryptoHostStatus) -> str:
    jobs, workers = format_count(host.running_jobs, "job"), format_count(host.slots, "worker")
    return f"{host_state(host)}, {jobs} on {workers}, seen {format_last_contact(host)}"


def _format_field(name: str, value: str) -> str:
    return f"{name:<{_NAME_WIDTH}}{escape_text(value)}"
