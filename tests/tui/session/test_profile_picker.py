"""Tests of the profile picker."""

from __future__ import annotations

from sealyard.client.config.profiles import Profile
from sealyard.client.config.settings_loader import Settings
from sealyard_tui.app import SealyardApp
from sealyard_tui.session.session import Session
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import assert_visible, run_app, screen_text, wait_for_workers, wait_until
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
        await pilot.press("escape", "f2", "f2")
        await wait_until(pilot, lambda: app.state.identity == ADMINISTRATOR)


async def test_every_identity_sees_the_same_numbered_list(workspace: TuiWorkspace) -> None:
    app = make_single_profile_app(workspace)
    async with run_app(app) as pilot:
        for number, name in (("1", "auditor"), ("2", "developer"), ("3", "owner"), ("4", "yard"), ("2", "developer")):
            await pilot.press("P")
            await wait_until(pilot, lambda: "Who are you?" in screen_text(app))
            for line in ("1", "  auditor  "), ("2", "  developer  "), ("3", "  owner  "), ("4", "  yard  "):
                marked = line[1].strip() == app.session.profile.name
                shown = f"{line[0]} {'●' if marked else ' '} {line[1].strip()}  "
                assert shown in screen_text(app), shown
            await pilot.press(number)
            await wait_until(pilot, lambda name=name: app.session.profile.name == name and app.state.has_permissions)  # type: ignore[misc]
            await wait_for_workers(pilot)


async def test_f2_goes_round_all_users_in_order(workspace: TuiWorkspace) -> None:
    app = make_single_profile_app(workspace)
    async with run_app(app) as pilot:
        for name in ("auditor", "developer", "owner", "yard", "auditor"):
            await pilot.press("f2")
            await wait_until(pilot, lambda name=name: app.session.profile.name == name and app.state.has_permissions)  # type: ignore[misc]
            await wait_for_workers(pilot)


async def test_f2_explains_that_there_is_no_other_profile(workspace: TuiWorkspace) -> None:
    profile = Profile(name="yard", identity=ADMINISTRATOR, workspace="/srv/yard")
    session = Session(FakeConnection(workspace, host="seal.example"), profile, (profile,))
    app = SealyardApp(session, Settings(bell=False), now=lambda: workspace.now)
    async with run_app(app) as pilot:
        await pilot.press("f2")
        await assert_visible(pilot, "No other identity.")
        assert app.state.identity == ADMINISTRATOR


async def test_profile_name_is_not_reused_for_subject(workspace: TuiWorkspace) -> None:
    profile = Profile(name="dev", identity="USER:root", workspace="/srv/yard")
    session = Session(FakeConnection(workspace), profile, (profile,))
    session.add_identities(("USER:root", "USER:dev"))
    assert [(each.name, each.identity) for each in session.available_profiles] == [
        ("dev", "USER:root"),
        ("USER:dev", "USER:dev"),
    ]
