"""Tests of the application: status bar, start, profile switch and event batches."""

from __future__ import annotations

import asyncio
import gc
from typing import cast

import pytest

from sealyard.model.errors import StorageError
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.messages import ConnectionChanged, ConnectionMode, EngineState, EngineUpdate
from tests.tui.pilot_helpers import (
    PROFILES,
    assert_visible,
    connection_of,
    make_app,
    run_app,
    screen_text,
    wait_for_workers,
    wait_until,
)
from tests.tui.workspace import AUDITOR, OWNER, TuiWorkspace


async def test_all_screens_show_session_state(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        for key in "123456":
            await pilot.press(key)
            await wait_for_workers(pilot)
            text = screen_text(app)
            for words in ("developer", "Dana Developer", "demo", "DEMO", "ready", "no separation of duties"):
                assert words in text, (key, words)


async def test_start_shows_status_before_engine_opens(workspace: TuiWorkspace) -> None:
    gate = asyncio.Event()
    app = make_app(workspace, gate=gate)
    async with run_app(app) as pilot:
        await wait_until(pilot, lambda: "starting" in screen_text(app))
        gate.set()
        await wait_until(pilot, lambda: "ready" in screen_text(app))


async def test_f2_switches_to_next_profile(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("f2")
        await wait_until(pilot, lambda: app.state.identity == OWNER and bool(app.state.roles))
        await assert_visible(pilot, "product owner")


async def test_switch_ignores_work_of_earlier_identity(workspace: TuiWorkspace) -> None:
    """Its permissions are not shown for the next one, and the watch folder does not continue with it."""
    app = make_app(workspace, "owner")
    async with run_app(app) as pilot:
        earlier_rights, shown = app.state.rights, []
        app.state_changed.subscribe(app.screen, lambda state: shown.append((state.identity, state.rights)))
        workspace.faults.hold["policy"] = held = asyncio.Event()
        app.post_message(EngineUpdate({}, {}, missed_events=True))
        await wait_until(pilot, app._refresh_lock.locked)
        app.post_message(ConnectionChanged(EngineState.READY, ConnectionMode.OWNER))
        await wait_until(pilot, app._connect_lock.locked)
        app.switch_profile(next(profile for profile in PROFILES if profile.name == "auditor"))
        await wait_until(pilot, lambda: app.state.identity == AUDITOR and app.state.engine is EngineState.READY)
        del workspace.faults.hold["policy"]
        held.set()
        await wait_until(pilot, lambda: app.state.has_permissions)
        await wait_for_workers(pilot)
        assert (AUDITOR, earlier_rights) not in shown
        assert app.state.rights != earlier_rights
        assert app.watch_folder._client is await app.session.client()


async def test_engine_start_failure_shows_error(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["connect"] = StorageError("The disk is full.", "Make room.")
    app = make_app(workspace)
    async with app.run_test() as pilot:
        await wait_until(pilot, lambda: "The disk is full." in screen_text(app))
        await assert_visible(pilot, "Make room.")
        await pilot.press("escape", "2")
        await wait_until(pilot, lambda: app.current_mode == "upload")


async def test_event_burst_is_batched(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    updates: list[EngineUpdate] = []
    async with run_app(app) as pilot:
        app.engine_updates.subscribe(app.screen, updates.append)
        await workspace.add_tasks(500)
        await wait_until(pilot, lambda: len({task_id for update in updates for task_id in update.tasks}) == 500)
        assert len(updates) <= 5


async def test_state_refresh_keeps_connection_changes(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        workspace.faults.hold["counts"] = asyncio.Event()
        loads = workspace.faults.counts["counts"]
        await workspace.add_task("held")
        await wait_until(pilot, lambda: workspace.faults.counts["counts"] > loads)
        connection_of(app).lose()
        await wait_until(pilot, lambda: app.state.engine is EngineState.RECONNECTING)
        workspace.faults.lost = None
        workspace.faults.hold.pop("counts").set()
        await wait_for_workers(pilot)
        assert app.state.engine is EngineState.RECONNECTING


async def test_failed_state_refresh_loads_names_again(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["subject_names"] = StorageError("The disk is full.", "Make room.")
    app = make_app(workspace)
    async with app.run_test() as pilot:
        await wait_until(pilot, lambda: workspace.faults.counts["subject_names"])
        del workspace.faults.fail["subject_names"]
        await workspace.add_task("next")
        await wait_until(pilot, lambda: app.state.subject_names.get(OWNER) == "Olga Owner")


async def test_work_cancelled_before_start_is_closed(workspace: TuiWorkspace, recwarn: pytest.WarningsRecorder) -> None:
    started = []

    async def work() -> None:
        started.append(True)

    async with run_app(app := make_app(workspace)) as pilot:
        screen = cast(BaseScreen, app.screen)
        for _ in range(2):
            screen.run_guarded(work(), group="one", exclusive=True)
        await wait_for_workers(pilot)
        gc.collect()
    assert started == [True]
    assert [each for each in recwarn if "never awaited" in str(each.message)] == []
