"""One key acts as anybody of the workspace, with a profile or without."""

from __future__ import annotations

from sealyard.client.config.profiles import Profile
from sealyard.client.config.settings_loader import Settings
from sealyard_tui.app import SealyardApp
from sealyard_tui.session.session import Session
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import PROFILES, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, TuiWorkspace


def alone(workspace: TuiWorkspace) -> SealyardApp:
    """As a workspace that was made a moment ago: its administrator has a profile, and nobody else."""
    profile = Profile(name="yard", identity=ADMINISTRATOR, workspace="/srv/yard")
    session = Session(FakeConnection(workspace), profile, (profile,))
    return SealyardApp(session, Settings(bell=False), now=lambda: workspace.now)


async def test_who_sees_the_people_of_the_workspace_can_act_as_those_without_a_profile_and_go_back(
    workspace: TuiWorkspace,
) -> None:
    app = alone(workspace)
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


async def test_who_may_not_see_the_people_is_offered_the_profiles_alone_and_nothing_is_refused(
    workspace: TuiWorkspace,
) -> None:
    app = make_app(workspace, "developer")
    async with run_app(app) as pilot:
        await pilot.press("P")
        await wait_until(pilot, lambda: "Who are you?" in screen_text(app))
        assert app.session.available_profiles == PROFILES


async def test_a_name_that_a_profile_has_is_not_given_to_somebody_else(workspace: TuiWorkspace) -> None:
    profile = Profile(name="dev", identity="USER:root", workspace="/srv/yard")
    session = Session(FakeConnection(workspace), profile, (profile,))
    session.add_identities(("USER:root", "USER:dev"))
    assert [(each.name, each.identity) for each in session.available_profiles] == [
        ("dev", "USER:root"),
        ("USER:dev", "USER:dev"),
    ]
