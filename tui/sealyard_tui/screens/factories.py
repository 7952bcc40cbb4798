"""Functions that create the main screens. Each imports its screen when called, to not delay the first paint."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from textual.screen import Screen


def _create_dashboard() -> Screen[None]:
    from sealyard_tui.screens.dashboard.screen import DashboardScreen

    return DashboardScreen()


def _create_upload() -> Screen[None]:
    from sealyard_tui.screens.upload.screen import UploadScreen

    return UploadScreen()


def _create_approvals() -> Screen[None]:
    from sealyard_tui.screens.approvals.screen import ApprovalsScreen

    return ApprovalsScreen()


def _create_audit() -> Screen[None]:
    from sealyard_tui.screens.audit.screen import AuditScreen

    return AuditScreen()


def _create_devices() -> Screen[None]:
    from sealyard_tui.screens.devices.screen import DevicesScreen

    return DevicesScreen()


def _create_access() -> Screen[None]:
    from sealyard_tui.screens.access.screen import AccessScreen

    return AccessScreen()


SCREEN_FACTORIES: Mapping[str, Callable[[], Screen[None]]] = {
    "dashboard": _create_dashboard,
    "upload": _create_upload,
    "approvals": _create_approvals,
    "audit": _create_audit,
    "devices": _create_devices,
    "access": _create_access,
}
"""Functions by name of the screen."""
