"""The frame of the application: who one is is always seen, places are a key away, news are gathered."""

from __future__ import annotations

import asyncio
import gc
from typing import cast

import pytest

from sealyard.model.errors import StorageError
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.messages import EngineUpdate
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import OWNER, TuiWorkspace


async def test_profile_role_workspace_engine_and_four_eyes_are_seen_on_every_place(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        for key in "123456":
            await pilot.press(key)
            await wait_for_workers(pilot)
            seen = screen_text(app)
            for words in ("developer", "Dana Developer", "demo", "DEMO", "ready", "no separation of duties"):
                assert words in seen, (key, words)


async def test_the_first_screen_does_not_wait_for_the_engine(workspace: TuiWorkspace) -> None:
    gate = asyncio.Event()
    app = make_app(workspace, gate=gate)
    async with run_app(app) as pilot:
        await wait_until(pilot, lambda: "starting" in screen_text(app))
        gate.set()
        await wait_until(pilot, lambda: "ready" in screen_text(app))


async def test_one_key_makes_one_the_next_person(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("f2")
        await wait_until(pilot, lambda: app.state.identity == OWNER and bool(app.state.roles))
        await assert_visible(pilot, "product owner")


async def test_an_engine_that_does_not_open_is_told_and_the_application_goes_on(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["connect"] = StorageError("The disk is full.", "Make room.")
    app = make_app(workspace)
    async with app.run_test() as pilot:
        await wait_until(pilot, lambda: "The disk is full." in screen_text(app))
        await assert_visible(pilot, "Make room.")
        await pilot.press("escape", "2")
        await wait_until(pilot, lambda: app.current_mode == "upload")


async def test_many_events_arrive_as_few_messages(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    heard: list[EngineUpdate] = []
    async with run_app(app) as pilot:
        app.engine_updates.subscribe(app.screen, heard.append)
        await workspace.add_tasks(500)
        await wait_until(pilot, lambda: len({task_id for update in heard for task_id in update.tasks}) == 500)
        assert len(heard) <= 5


async def test_work_that_is_cancelled_before_it_begins_leaves_nothing_unawaited(
    workspace: TuiWorkspace, recwarn: pytest.WarningsRecorder
) -> None:
    begun = []

    async def work() -> None:
        begun.append(True)

    async with run_app(app := make_app(workspace)) as pilot:
        place = cast(BaseScreen, app.screen)
        for _ in range(2):
            place.run_guarded(work(), group="one", exclusive=True)
        await wait_for_workers(pilot)
        gc.collect()
    assert begun == [True]
    assert [each for each in recwarn if "never awaited" in str(each.message)] == []
