"""Tests of the application before the workspace is verified: it shows the data, and no action is possible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.pilot import Pilot

from sealyard.model.errors import StoreCorruptedError
from sealyard_tui.app import SealyardApp
from sealyard_tui.session.messages import EngineState
from sealyard_tui.session.state_format import state_summary
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace

STORE_ERROR = StoreCorruptedError("The store was changed: journal-1.log at byte 9.", "Restore it from a backup.")
REASON = "the data is not verified yet"

CHANGES = (
    *(
        "approve",
        "reject",
        "withdraw",
        "cancel",
        "renew",
        "new",
        "resubmit",
        "download",
        "downloads",
        "submit",
        "create",
    ),
    *("next_version", "export", "rotate", "import_certificate", "verify", "add_subject", "add_member", "add_rule"),
    *("remove", "disable", "enable"),
)
"""The names of actions that change something or write a file."""


@asynccontextmanager
async def run_unverified(
    workspace: TuiWorkspace, profile: str = "owner"
) -> AsyncIterator[tuple[SealyardApp, Pilot[None], asyncio.Event]]:
    """Run the application until it shows unverified data; it is verified when the event is set."""
    gate = asyncio.Event()
    app = make_app(workspace, profile, connection=FakeConnection(workspace, gate, has_preview=True))
    async with run_app(app) as pilot:
        await wait_until(pilot, lambda: app.state.engine is EngineState.UNVERIFIED and app.state.has_permissions)
        yield app, pilot, gate


async def test_first_paint_shows_unverified_data(workspace: TuiWorkspace) -> None:
    await workspace.add_task("t-one", name="gateway one")
    async with run_unverified(workspace) as (app, pilot, gate):
        await assert_visible(pilot, "gateway one", "unverified")
        assert "not verified yet" in "\n".join(state_summary(app.state))
        gate.set()
        await assert_visible(pilot, "gateway one", "ready")
        assert "unverified" not in screen_text(app)
        assert not any("not verified" in line for line in state_summary(app.state))


async def test_actions_are_disabled_with_reason_until_verified(workspace: TuiWorkspace) -> None:
    await workspace.add_task("t-one", name="gateway one")
    async with run_unverified(workspace) as (app, pilot, gate):
        await pilot.press("3")
        await assert_visible(pilot, "gateway one", "unverified")
        assert not app.state.can_write
        assert app.screen.check_action("approve", ()) is False
        await pilot.press("x")
        await assert_visible(pilot, REASON)
        gate.set()
        await wait_until(pilot, lambda: app.state.can_write)
        await wait_until(pilot, lambda: app.screen.check_action("approve", ()) is True)


@pytest.mark.parametrize("profile", ["administrator", "developer", "owner"])
async def test_no_screen_offers_a_change(workspace: TuiWorkspace, profile: str) -> None:
    await workspace.add_task("t-one", name="gateway one")
    async with run_unverified(workspace, profile) as (app, pilot, _):
        for screen in ("1", "2", "3", "4", "5", "6"):
            await pilot.press(screen)
            await wait_for_screen_loads(app, pilot)
            for action in CHANGES:
                if hasattr(app.screen, f"action_{action}"):
                    assert not app.screen.check_action(action, ()), (screen, action)


async def wait_for_screen_loads(app: SealyardApp, pilot: Pilot[None]) -> None:
    """Wait until the loads of the current screen have ended; the session itself still starts."""
    await wait_until(pilot, lambda: all(each.is_finished for each in app.workers if each.group != "session"))


async def test_failed_verification_shows_error_and_allows_no_action(workspace: TuiWorkspace) -> None:
    await workspace.add_task("t-one", name="gateway one")
    async with run_unverified(workspace) as (app, pilot, gate):
        await pilot.press("3")
        await assert_visible(pilot, "gateway one")
        workspace.faults.fail["connect"] = STORE_ERROR
        gate.set()
        await assert_visible(pilot, "The store was changed", "Restore it from a backup.")
        await pilot.press("escape")
        await wait_until(pilot, lambda: app.state.engine is EngineState.FAILED)
        assert not app.state.can_write
        assert app.screen.check_action("approve", ()) is False
        await pilot.press("x")
        await assert_visible(pilot, "the workspace could not be opened")


async def test_screens_reload_after_verification(workspace: TuiWorkspace) -> None:
    await workspace.add_task("t-one", name="gateway one")
    async with run_unverified(workspace) as (app, pilot, gate):
        await assert_visible(pilot, "gateway one")
        await wait_for_screen_loads(app, pilot)
        await workspace.add_task("t-two", name="gateway two")
        assert "gateway two" not in screen_text(app)
        gate.set()
        await assert_visible(pilot, "gateway two")
        await wait_for_workers(pilot)


async def test_profile_cannot_be_switched_before_verification(workspace: TuiWorkspace) -> None:
    async with run_unverified(workspace, "developer") as (app, pilot, gate):
        await pilot.press("f2")
        await wait_for_screen_loads(app, pilot)
        assert app.state.profile == "developer"
        gate.set()
        await wait_until(pilot, lambda: app.state.can_write)
        await pilot.press("f2")
        await wait_until(pilot, lambda: app.state.profile != "developer")
