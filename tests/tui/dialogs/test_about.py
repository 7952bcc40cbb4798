"""Test the dialog about the workspace: its server, its crypto zone and the hosts."""

from __future__ import annotations

import pytest

from sealyard.model.zone_status import ZoneStatus
from sealyard_tui.dialogs.text import TextDialog
from tests.support.zone_examples import ZONE
from tests.tui.pilot_helpers import make_app, run_app, screen_text, wait_until
from tests.tui.workspace import TuiWorkspace


async def show(workspace: TuiWorkspace, profile: str) -> str:
    """Open the dialog and return its text, without line breaks."""
    app = make_app(workspace, profile)
    async with run_app(app) as pilot:
        assert "About this workspace" in [command.title for command in app.get_system_commands(app.screen)]
        app.show_about()
        await wait_until(pilot, lambda: isinstance(app.screen, TextDialog) and "Crypto zone" in screen_text(app))
        assert isinstance(app.screen, TextDialog)
        return " ".join(app.screen._text.split())


async def test_hosts_are_listed_with_warnings(workspace: TuiWorkspace) -> None:
    workspace.bus.zone = ZONE
    text = await show(workspace, "administrator")
    waiting_tasks = ZONE.queued + workspace.engine.scheduler.queue_length
    assert f"Crypto zone plant: 3 hosts, {waiting_tasks} waiting tasks" in text
    assert "Crypto host crypto-1 ready, 1 job on 2 workers, seen now" in text
    assert "Crypto host twin draining, 1 job on 2 workers, seen now" in text
    assert "no contact, 1 job on 2 workers, seen 1m 15s ago" in text
    assert "run without the protection seccomp: not permitted." in text


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        (None, "Crypto zone none, workers beside the engine execute the tasks"),
        (ZoneStatus(name="plant", reachable=False), "Crypto zone plant: not reachable"),
    ],
)
async def test_missing_or_unreachable_zone_is_named(
    workspace: TuiWorkspace, zone: ZoneStatus | None, expected: str
) -> None:
    workspace.bus.zone = zone
    assert expected in await show(workspace, "administrator")


async def test_zone_is_hidden_without_permission(workspace: TuiWorkspace) -> None:
    workspace.bus.zone = ZONE
    text = await show(workspace, "developer")
    assert "Crypto zone not shown; you do not have permission to view keys" in text
    assert "crypto-1" not in text
    assert not any("permission" in entry.message for entry in await workspace.audit_entries())
