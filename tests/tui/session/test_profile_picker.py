"""Tests of the profile picker."""

from __future__ import annotations

from sealyard.client.config.profiles import Profile
from sealyard.client.config.settings_loader import Settings
from sealyard_tui.app import SealyardApp
from sealyard_tui.session.session import Session
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import PROFILES, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, TuiWorkspace


def make_single_profile_app(workspace: TuiWorkspace) -> SealyardApp:
    """Return an application in which only the administrator has a profile, as after creating a workspace."""
    profile = Profile(name="yard", identity=ADMINISTRATOR, workspace="/srv/yard")
    session = Session(FakeConnection(workspace), profile, (profile,))
    return SealyardApp(session, Settings(bell=False), now=lambda: workspace.now)


async def test_administrator_can_pick_subjects_without_profile(
    workspace: TuiWorkspace,
) -> None:
    app = make_single_profile_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("P")
        await wait_until(pilot, lambda: "Who are you?" in screen_text(app) and DEVELOPER in screen_text(app))
        assert [each.identity for each in app.session.available_profiles].count(ADMINISTRATOR) == 1
        app.screen.dismiss("developer")
        await wait_until(pilot, lambda: app.state.identity == DEVELOPER and app.state.workspace)
        await wait_for_workers(pilot)
        await pilot.press("P")
        await wait_until(pilot, lambda: "yard  " + ADMINISTRATOR in screen_text(app))
        await pilot.press("escape", "f2")
        await wait_until(pilot, lambda: app.state.identity == ADMINISTRATOR)


async def test_unprivileged_user_is_offered_profiles_only(
    workspace: TuiWorkspace,
) -> None:
    app = make_app(workspace, "developer")
    async with run_app(app) as pilot:
        await pilot.press("P")
        await wait_until(pilot, lambda: "Who are you?" in screen_text(app))
        assert app.session.available_profiles == PROFILES


async def test_profile_name_is_not_reused_for_subject(workspace: TuiWorkspace) -> None:
    profile = Profile(name="dev", identity="USER:root", workspace="/srv/yard")
    session = Session(FakeConnection(workspace), profile, (profile,))
    session.add_identities(("USER:root", "USER:dev"))
    assert [(each.name, each.identity) for each in session.available_profiles] == [
        ("dev", "USER:root"),
        ("USER:dev", "USER:dev"),
    ]
