"""The top of every place: who, where, how the engine does, four eyes and what waits, at any width."""

from __future__ import annotations

import msgspec
import pytest
from stage import until
from textual import on
from widget_stage import HOSTILE, Stage, harmless

from sealyard.model.access import Role
from sealyard_tui.screens.place import PLACES
from sealyard_tui.session.messages import EngineState
from sealyard_tui.session.standing import Standing
from sealyard_tui.widgets.status_bar import PlaceTab, StatusBar

STANDING = Standing(
    profile="dana",
    identity="USER:developer",
    engine=EngineState.READY,
    roles=(Role.DEVELOPER, Role.AUDITOR),
    workspace="gateway yard",
    workspace_id="w1",
    four_eyes="embedded: duties are kept apart on trust; whoever has this account has the workspace",
    running=2,
    waiting_for_me=3,
)


class Bench(Stage):
    def __init__(self) -> None:
        super().__init__(StatusBar(PLACES, "approvals"))
        self.gone_to: list[str] = []

    @on(PlaceTab.Clicked)
    def _clicked(self, event: PlaceTab.Clicked) -> None:
        self.gone_to.append(event.place)

    def show(self, **changes: object) -> None:
        self.query_one(StatusBar).show(msgspec.structs.replace(STANDING, **changes))


@pytest.mark.parametrize("width", [80, 120, 200])
async def test_identity_role_workspace_engine_and_four_eyes_are_seen_at_any_width(width: int) -> None:
    app = Bench()
    async with app.run_test(size=(width, 24)) as pilot:
        app.show()
        await pilot.pause()
        seen = app.text()
        for words in ("dana", "developer (developer", "gateway yard", "● ready", "four eyes", "3 Approvals·3"):
            assert words in seen, words
        for _, label in PLACES.values():
            assert label in seen


async def test_a_wide_screen_says_what_four_eyes_means() -> None:
    app = Bench()
    async with app.run_test(size=(160, 24)) as pilot:
        app.show()
        await pilot.pause()
        await until(pilot, lambda: "four eyes embedded: duties are kept apart on trust" in app.text())
        await until(pilot, lambda: "developer, auditor" in app.text())


async def test_the_self_approval_trial_is_said_in_words_at_any_width() -> None:
    app = Bench()
    async with app.run_test(size=(80, 24)) as pilot:
        app.show(trial=True, demo=True, roles=(Role.DEVELOPER,), running=0)
        await pilot.pause()
        await until(pilot, lambda: "SELF-APPROVAL TRIAL" in app.text())
        await until(pilot, lambda: "DEMO" in app.text())


@pytest.mark.parametrize("state", EngineState)
async def test_each_state_of_the_engine_is_a_word_and_a_sign(state: EngineState) -> None:
    app = Bench()
    async with app.run_test(size=(120, 24)) as pilot:
        app.show(engine=state)
        await pilot.pause()
        line = next(line for line in app.text().splitlines() if state in line)
        assert line[line.index(f" {state}") - 1] in "…●◌✗"


async def test_nothing_waiting_shows_no_count() -> None:
    app = Bench()
    async with app.run_test() as pilot:
        app.show(waiting_for_me=0)
        await pilot.pause()
        assert "Approvals·" not in app.text()


async def test_a_click_on_a_place_goes_there() -> None:
    app = Bench()
    async with app.run_test() as pilot:
        tab = next(each for each in app.query(PlaceTab) if each.place == "audit")
        await pilot.click(tab)
        await until(pilot, lambda: app.gone_to == ["audit"])


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_of_profiles_and_workspaces_are_harmless(name: str) -> None:
    app = Bench()
    async with app.run_test(size=(120, 24)) as pilot:
        app.show(profile=name, workspace=name, identity=f"USER:{name}", four_eyes=name)
        await pilot.pause()
        assert harmless(app.text())


async def test_at_60_columns_every_place_is_seen_whole_enough_to_go_there_with_what_waits() -> None:
    app = Bench()
    async with app.run_test(size=(60, 18)) as pilot:
        app.show(waiting_for_me=12)
        await pilot.pause()
        tabs = app.text().splitlines()[0]
        assert " ".join(tabs.split()) == "1 Dashbo… 2 Upload 3 Approv…·12 4 Audit 5 Devices 6 Access"
        await pilot.resize_terminal(80, 24)
        app.show(waiting_for_me=12)
        await pilot.pause()
        await until(pilot, lambda: "1 Dashboard" in app.text())
