"""A line that is lost: seen at the top of the screen, no dialog after dialog, and nothing typed is lost with it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from sealyard.client.http.status import ConnectionStatus
from sealyard.model.errors import AuthenticationError, DeliveryCertainty, KeyStoreLockedError, ServerUnreachableError
from sealyard.model.tasks import Task
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.dialogs.error import ErrorDialog
from sealyard_tui.dialogs.reason import ReasonDialog
from sealyard_tui.formatting import format_clock
from sealyard_tui.screens.approvals.dialogs import ApproveDialog, RejectDialog
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.upload.screen import UploadScreen
from sealyard_tui.session.messages import ConnectionMode, EngineState
from tests.tui.approvals_helpers import open_queue, paste_text, wait_for_review
from tests.tui.pilot_helpers import (
    assert_visible,
    connection_of,
    make_app,
    run_app,
    screen_text,
    wait_for_workers,
    wait_until,
)
from tests.tui.tui_world import LOST, NOW, World, WorldConnection, task


async def lose(app: SealyardApp, pilot: Pilot[None]) -> None:
    connection_of(app).lose()
    await wait_until(pilot, lambda: app.state.engine is EngineState.RECONNECTING)


async def find(app: SealyardApp, pilot: Pilot[None], way: ConnectionMode | None = None) -> None:
    connection_of(app).find(way)
    await wait_until(pilot, lambda: app.state.engine is EngineState.READY)
    await wait_for_workers(pilot)


async def test_since_when_it_is_lost_and_when_the_last_answer_came_is_seen_on_every_place(world: World) -> None:
    async with run_app(app := make_app(world)) as pilot:
        await lose(app, pilot)
        for key in "123456":
            await pilot.press(key)
            await wait_for_workers(pilot)
            last = format_clock(NOW - timedelta(seconds=6))
            assert f"reconnecting since {format_clock(NOW)} (last response {last})" in screen_text(app), key
            assert not isinstance(app.screen, BaseDialog), key
        await find(app, pilot)
        await assert_visible(pilot, "● ready")


async def test_the_list_stays_as_it_was_says_of_when_it_is_and_is_read_anew_afterwards(world: World) -> None:
    async with run_app(app := make_app(world)) as pilot:
        world.now += timedelta(minutes=5)
        await lose(app, pilot)
        world.tasks["t-unheard"] = task("t-unheard", name="came meanwhile")
        await pilot.press("r")
        await wait_for_workers(pilot)
        await assert_visible(pilot, "gateway 1.4.3", f"as of {format_clock(NOW)}")
        assert isinstance(app.screen, BaseScreen), "no dialog for what nobody asked for"
        assert "came meanwhile" not in screen_text(app)
        await find(app, pilot)
        await assert_visible(pilot, "came meanwhile", "updated 0 s ago")


async def test_a_place_first_seen_while_it_is_lost_is_filled_when_it_is_back(world: World) -> None:
    async with run_app(app := make_app(world, "administrator")) as pilot:
        await lose(app, pilot)
        await pilot.press("5")
        await wait_for_workers(pilot)
        assert app.current_mode == "devices"
        assert "sensor" not in screen_text(app)
        await find(app, pilot)
        await assert_visible(pilot, "sensor")


async def test_an_approval_that_gets_no_answer_is_asked_for_again_with_all_that_was_typed(world: World) -> None:
    async with open_queue(world) as (app, pilot):
        first = next(iter(row.id for row in app.screen.query_one("VirtualTable").rows))  # type: ignore[attr-defined]
        await pilot.press("A")
        await paste_text(pilot, "gateway")
        await pilot.press("tab")
        await paste_text(pilot, "tested on the bench")
        await lose(app, pilot)
        await pilot.press("enter")
        await assert_visible(pilot, f"✗ {LOST.message}")
        assert isinstance(app.screen, ApproveDialog)
        assert app.screen.query_one("#comment", Input).value == "tested on the bench"
        await find(app, pilot)
        await pilot.press("enter")
        await wait_until(pilot, lambda: not isinstance(app.screen, ApproveDialog))
        await wait_for_review(app, pilot)
        assert [(each.by, each.reason) for each in world.tasks[first].approvals] == [
            ("USER:owner", "tested on the bench")
        ]
    ApproveDialog.comments.clear()


async def test_a_rejection_that_gets_no_answer_is_asked_for_again_with_its_reason(world: World) -> None:
    async with open_queue(world) as (app, pilot):
        await pilot.press("x")
        await paste_text(pilot, "the wrong bootloader")
        await lose(app, pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, f"✗ {LOST.message}")
        assert isinstance(app.screen, RejectDialog)
        assert app.screen.query_one(TextArea).text == "the wrong bootloader"
        await find(app, pilot)
        await pilot.press("ctrl+s")
        await wait_for_review(app, pilot)
        assert [name for name, _ in world.calls] == ["decide", "decide"]
        await assert_visible(pilot, "rejected")


async def test_a_withdrawal_that_gets_no_answer_is_asked_for_again_with_its_reason(world: World) -> None:
    async with run_app(app := make_app(world)) as pilot:
        await pilot.press("w")
        await paste_text(pilot, "built from the wrong branch")
        await lose(app, pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, f"✗ {LOST.message}")
        assert isinstance(app.screen, ReasonDialog)
        await find(app, pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "withdrawn")
        assert world.tasks["t-waiting"].reason == "withdrawn: built from the wrong branch"


async def test_a_form_keeps_what_was_typed_and_can_be_handed_in_again(world: World) -> None:
    async with run_app(app := make_app(world, "administrator", start_screen="access")) as pilot:
        await pilot.press("n")
        await paste_text(pilot, "maria")
        await lose(app, pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, f"✗ {LOST.message}", "maria")
        await find(app, pilot)
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: any(each.id == "USER:maria" for each in world.subjects))


# ---- a task


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "application.bin"
    path.write_bytes(b"firmware" * 100)
    return path


async def form_with(app: SealyardApp, pilot: Pilot[None], firmware: Path) -> UploadScreen:
    await wait_until(pilot, lambda: isinstance(app.screen, UploadScreen))
    place = app.screen
    assert isinstance(place, UploadScreen)
    place.form.device = "gw"
    place.add_paths((firmware,))
    await wait_for_workers(pilot)
    return place


async def submit(pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+s")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await pilot.press("y")


async def test_a_task_asked_for_twice_because_its_answer_was_lost_is_made_once(
    world: World, firmware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = world.put

    def put_and_lose(made: Task) -> None:
        put(made)
        monkeypatch.setattr(world, "put", put)
        raise LOST

    async with run_app(app := make_app(world, start_screen="upload")) as pilot:
        place = await form_with(app, pilot, firmware)
        before = len(world.tasks)
        monkeypatch.setattr(world, "put", put_and_lose)
        await submit(pilot)
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await pilot.press("escape")
        assert [each.path for each in place.form.entries] == [firmware], "the form is as it was"
        await submit(pilot)
        await assert_visible(pilot, "Created task")
        requests = [arguments[0] for name, arguments in world.calls if name == "create_package"]
        assert len(requests) == 2
        assert requests[0].client_token == requests[1].client_token
        assert len(world.tasks) == before + 1


async def test_a_file_that_could_not_be_handed_in_is_handed_in_when_the_line_is_back(
    world: World, firmware: Path
) -> None:
    async with run_app(app := make_app(world, start_screen="upload")) as pilot:
        await wait_until(pilot, lambda: isinstance(app.screen, UploadScreen))
        await lose(app, pilot)
        place = await form_with(app, pilot, firmware)
        await wait_until(pilot, lambda: isinstance(place.form.entries[0].error, ServerUnreachableError))
        await find(app, pilot)
        await wait_until(pilot, lambda: place.form.entries[0].file is not None)


# ---- the line itself


async def test_who_takes_the_workspace_over_is_told(world: World) -> None:
    app = make_app(world, connection=WorldConnection(world, way=ConnectionMode.ATTACHED))
    async with run_app(app) as pilot:
        await pilot.press("question_mark")
        await assert_visible(pilot, "Connected to another process on this machine")
        await pilot.press("escape")
        await lose(app, pilot)
        await find(app, pilot, ConnectionMode.OWNER)
        await assert_visible(pilot, "The previous owner exited")
        await pilot.press("question_mark")
        await assert_visible(pilot, "This application owns the workspace")


async def test_who_cannot_take_over_is_told_why_and_nothing_else_is_put_over_the_screen(world: World) -> None:
    app = make_app(world, connection=WorldConnection(world, way=ConnectionMode.ATTACHED))
    locked = KeyStoreLockedError("Wrong passphrase for the key store.")
    async with run_app(app) as pilot:
        await lose(app, pilot)
        connection_of(app).on_error(locked)
        await assert_visible(pilot, "Not connected", locked.message)
        world.fail["tasks"] = locked
        world.lost = None
        await pilot.press("r")
        await wait_for_workers(pilot)
        assert isinstance(app.screen, BaseScreen)
        assert app.state.engine is EngineState.RECONNECTING


async def test_a_server_that_is_not_there_yet_is_waited_for(world: World) -> None:
    connection = WorldConnection(world, way=ConnectionMode.SERVER, host="seal.example")
    world.lost = LOST
    app = make_app(world, connection=connection)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await assert_visible(pilot, LOST.message, "seal.example")
        connection.tell(ConnectionStatus(reconnecting_since=NOW))
        await assert_visible(pilot, f"reconnecting since {format_clock(NOW)} (no response yet)")
        assert not isinstance(app.screen, BaseDialog)
        connection.find()
        await assert_visible(pilot, "● ready", "gateway 1.4.3")


@pytest.mark.parametrize("reach", [DeliveryCertainty.UNTRUSTED, DeliveryCertainty.NOT_POSSIBLE])
async def test_a_server_that_is_not_trusted_is_not_waited_for(world: World, reach: DeliveryCertainty) -> None:
    world.fail["workspace"] = ServerUnreachableError("It is not trusted.", reach=reach)
    app = make_app(world)
    async with app.run_test() as pilot:
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        assert app.state.engine is EngineState.FAILED


async def test_a_token_that_ended_is_told_once(world: World) -> None:
    async with run_app(app := make_app(world)) as pilot:
        ended = "The token is not valid here."
        for method in ("tasks", "counts", "devices", "workspace"):
            world.fail[method] = AuthenticationError(ended)
        for _ in range(3):
            await pilot.press("r")
            await wait_for_workers(pilot)
        assert sum(isinstance(each, ErrorDialog) for each in app.screen_stack) == 1


async def test_events_that_end_for_good_are_told_and_not_taken_for_a_quiet_engine(world: World) -> None:
    world.fail["events"] = AuthenticationError("The token is not valid here.")
    app = make_app(world)
    async with app.run_test() as pilot:
        await assert_visible(pilot, "The token is not valid here.", "failed")
