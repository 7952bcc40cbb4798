"""The watch folder in the application: what is dropped is offered, told of once, and taken once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from sealyard.client.config.settings import DropAction
from sealyard.client.config.settings_loader import WatchFolderSettings
from sealyard.client.watch_folder.watcher import FolderWatcher
from sealyard.model.requests import PackageRequest
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.error import ErrorDialog
from sealyard_tui.screens.upload.dialogs import WatchFolderDialog
from sealyard_tui.screens.upload.path_input import PathInput
from sealyard_tui.screens.upload.screen import UploadScreen
from sealyard_tui.session.watch_folder import WatchState
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import DEVELOPER, OWNER, TuiWorkspace


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drops count as whole after a moment, not after two seconds."""
    made = FolderWatcher.__init__

    def init(self: FolderWatcher, *args: object, **more: object) -> None:
        made(self, *args, **{**more, "settle": 0.05})  # type: ignore[arg-type]

    monkeypatch.setattr(FolderWatcher, "__init__", init)


def watching_app(
    workspace: TuiWorkspace, drop: Path, rule: DropAction = DropAction.PROPOSE, **settings: Any
) -> SealyardApp:
    plan = WatchFolderSettings(folder=str(drop), device="gateway", on_drop=rule)
    return make_app(workspace, watch=plan, start_screen="upload", **settings)


async def there(pilot: Pilot[None]) -> UploadScreen:
    if pilot.app.current_mode != "upload":
        await pilot.press("2")
        await wait_for_workers(pilot)
    place = pilot.app.screen
    assert isinstance(place, UploadScreen)
    return place


async def offered(pilot: Pilot[None], app: SealyardApp, count: int = 1) -> None:
    await wait_until(pilot, lambda: len(app.watch_folder.proposals) == count)
    await wait_for_workers(pilot)


def packages(workspace: TuiWorkspace) -> list[PackageRequest]:
    return [request for (request,) in workspace.faults.calls_of("create_package")]


async def test_what_is_watched_stands_in_the_title_line(workspace: TuiWorkspace, drop: Path) -> None:
    app = watching_app(workspace, drop)
    async with run_app(app) as pilot:
        await there(pilot)
        await wait_until(pilot, lambda: "watching" in screen_text(app))
        await assert_visible(pilot, "for gateway (propose)")


async def test_a_dropped_file_is_offered_and_told_of_wherever_one_is(workspace: TuiWorkspace, drop: Path) -> None:
    app = watching_app(workspace, drop)
    calls: list[str] = []
    app.watch_folder._alert = calls.append
    async with run_app(app) as pilot:
        await pilot.press("5")
        (drop / "[bold]fw.bin").write_bytes(b"firmware")
        await offered(pilot, app)
        await wait_until(pilot, lambda: "1 package is ready in the watch folder" in screen_text(app))
        assert len(calls) == 1
        await there(pilot)
        await assert_visible(pilot, "[bold]fw.bin")
        await assert_visible(pilot, "◇ proposed: 1")


async def test_an_offer_is_submitted_by_key_and_only_once(workspace: TuiWorkspace, drop: Path) -> None:
    app = watching_app(workspace, drop)
    (drop / "fw.bin").write_bytes(b"firmware")
    async with run_app(app, size=(80, 24)) as pilot:
        place = await there(pilot)
        await offered(pilot, app)
        place.query_one("#drops", VirtualTable).focus()
        await pilot.press("s")
        await wait_until(pilot, lambda: "submitted: task" in screen_text(app))
        await pilot.press("s")
        await wait_for_workers(pilot)
        (request,) = packages(workspace)
        assert [each.name for each in request.firmware] == ["fw.bin"]


async def test_a_dismissed_offer_goes_and_does_not_come_back_at_the_next_start(
    workspace: TuiWorkspace, drop: Path
) -> None:
    (drop / "fw.bin").write_bytes(b"firmware")
    app = watching_app(workspace, drop)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await offered(pilot, app)
        place.query_one("#drops", VirtualTable).focus()
        await pilot.press("x")
        await wait_until(pilot, lambda: not app.watch_folder.dropped)
    again = watching_app(workspace, drop)
    async with run_app(again) as pilot:
        (drop / "other.bin").write_bytes(b"other")
        await offered(pilot, again)
        assert [each.name for each in again.watch_folder.proposals] == ["other.bin"]
    assert packages(workspace) == []


async def test_an_offer_is_taken_into_the_form_and_counts_as_taken_with_the_task(
    workspace: TuiWorkspace, drop: Path
) -> None:
    app = watching_app(workspace, drop)
    (drop / "release" / "metadata").mkdir(parents=True)
    (drop / "release" / "fw.bin").write_bytes(b"firmware")
    (drop / "release" / "metadata" / "notes.json").write_bytes(b"{}")
    async with run_app(app) as pilot:
        place = await there(pilot)
        await offered(pilot, app)
        place.query_one("#drops", VirtualTable).focus()
        await pilot.press("f")
        await wait_until(pilot, lambda: not any(each.is_pending for each in place.form.entries))
        await wait_for_workers(pilot)
        await assert_visible(pilot, "in the form")
        await pilot.press("ctrl+s")
        await wait_for_workers(pilot)
        await pilot.press("y")
        await wait_until(pilot, lambda: not app.watch_folder.dropped)
        (request,) = packages(workspace)
        assert request.name == "release"
        assert [each.name for each in request.firmware] == ["fw.bin"]
        assert [each.name for each in request.metadata] == ["notes.json"]


async def test_an_offer_whose_file_changed_says_so_and_the_new_one_is_offered(
    workspace: TuiWorkspace, drop: Path
) -> None:
    app = watching_app(workspace, drop)
    (drop / "fw.bin").write_bytes(b"firmware")
    async with run_app(app) as pilot:
        await there(pilot)
        await offered(pilot, app)
        (old,) = app.watch_folder.proposals
        (drop / "fw.bin").write_bytes(b"longer firmware")
        await wait_until(pilot, lambda: app.watch_folder.proposals not in ([old], []))
        app.screen.query_one("#drops", VirtualTable).focus()
        await pilot.press("s")
        await wait_until(pilot, lambda: "submitted: task" in screen_text(app))
        assert packages(workspace)[0].firmware[0].size == len(b"longer firmware")


async def test_what_is_no_package_is_shown_as_refused_with_the_reason(workspace: TuiWorkspace, drop: Path) -> None:
    (drop / "release" / "stray").mkdir(parents=True)
    (drop / "release" / "fw.bin").write_bytes(b"firmware")
    app = watching_app(workspace, drop)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await wait_until(pilot, lambda: "rejected" in screen_text(app))
        await assert_visible(pilot, "Cannot create a package")
        place.query_one("#drops", VirtualTable).focus()
        await pilot.press("enter")
        await wait_for_workers(pilot)
        assert "It contains stray, which is a folder" in " ".join(screen_text(app).split())


async def test_by_the_rule_submit_a_task_is_made_at_once(workspace: TuiWorkspace, drop: Path) -> None:
    app = watching_app(workspace, drop, rule=DropAction.SUBMIT)
    async with run_app(app) as pilot:
        (drop / "fw.bin").write_bytes(b"firmware")
        await wait_until(pilot, lambda: packages(workspace) != [])
        await there(pilot)
        await wait_until(pilot, lambda: "submitted: task" in screen_text(app))


async def test_a_watch_that_fails_says_why_and_the_application_goes_on(workspace: TuiWorkspace, drop: Path) -> None:
    app = watching_app(workspace, drop / "nowhere")
    async with run_app(app) as pilot:
        place = await there(pilot)
        await wait_until(pilot, lambda: "watch folder failed" in screen_text(app))
        assert app.screen is place


async def test_a_watch_that_ends_by_a_fault_says_so(
    workspace: TuiWorkspace, drop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(_: FolderWatcher) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(FolderWatcher, "run", fault)
    app = watching_app(workspace, drop)
    async with run_app(app) as pilot:
        await there(pilot)
        await wait_until(pilot, lambda: "watch folder failed" in screen_text(app))
        assert app.watch_folder.state is WatchState.FAILED


async def test_it_is_set_up_by_key_and_goes_on_at_the_next_start(workspace: TuiWorkspace, drop: Path) -> None:
    app = make_app(workspace, start_screen="upload")
    async with run_app(app, size=(80, 24)) as pilot:
        await there(pilot)
        await assert_visible(pilot, "watch folder off")
        await pilot.press("w")
        await pilot.pause()
        app.screen.query_one(PathInput).value = str(drop)
        app.screen.query_one("#device").focus()
        await pilot.press("enter")
        await wait_for_workers(pilot)
        await pilot.press("1")
        await wait_for_workers(pilot)
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: app.watch_folder.state is WatchState.WATCHING)
    again = make_app(workspace, start_screen="upload")
    async with run_app(again) as pilot:
        await wait_until(pilot, lambda: again.watch_folder.state is WatchState.WATCHING)
        assert again.watch_folder.settings.folder == str(drop)
        await there(pilot)
        await pilot.press("w")
        await pilot.pause()
        again.screen.query_one("#off").focus()
        await pilot.press("enter")
        await wait_until(pilot, lambda: again.watch_folder.state is WatchState.OFF)


async def test_what_was_typed_for_it_is_kept_by_escape(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, start_screen="upload")
    async with run_app(app) as pilot:
        await there(pilot)
        await pilot.press("w")
        await pilot.pause()
        await pilot.press(*"/srv/drop", "escape", "w")
        await pilot.pause()
        assert isinstance(app.screen, WatchFolderDialog)
        assert app.screen.query_one(PathInput).value == "/srv/drop"


async def test_each_person_has_a_watch_of_their_own(workspace: TuiWorkspace, drop: Path) -> None:
    app = watching_app(workspace, drop)
    (drop / "fw.bin").write_bytes(b"firmware")
    async with run_app(app) as pilot:
        await there(pilot)
        await offered(pilot, app)
        app.switch_profile(next(each for each in app.session.profiles if each.identity == OWNER))
        await wait_until(pilot, lambda: "You do not have permission to use gateway" in screen_text(app))
        assert app.watch_folder.dropped == []
        app.switch_profile(next(each for each in app.session.profiles if each.identity == DEVELOPER))
        await offered(pilot, app)
        assert not isinstance(app.screen, ErrorDialog)


async def test_nothing_is_watched_where_it_can_only_be_read(workspace: TuiWorkspace, drop: Path) -> None:
    app = watching_app(workspace, drop, connection=FakeConnection(workspace, read_only=True))
    async with run_app(app) as pilot:
        await there(pilot)
        assert app.watch_folder.state is WatchState.OFF
