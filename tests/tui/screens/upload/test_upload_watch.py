"""Tests of the watch folder on the upload screen: proposals, submission and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

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
def drop_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def short_settle_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time after which a dropped file is considered complete."""
    original_init = FolderWatcher.__init__

    def init(self: FolderWatcher, *args: object, **more: object) -> None:
        original_init(self, *args, **{**more, "settle": 0.05})  # type: ignore[arg-type]

    monkeypatch.setattr(FolderWatcher, "__init__", init)


def make_watching_app(
    workspace: TuiWorkspace, drop: Path, rule: DropAction = DropAction.PROPOSE, **settings: Any
) -> SealyardApp:
    watch_settings = WatchFolderSettings(folder=str(drop), device="gateway", on_drop=rule)
    return make_app(workspace, watch=watch_settings, start_screen="upload", **settings)


async def open_upload_screen(pilot: Pilot[None]) -> UploadScreen:
    if pilot.app.current_mode != "upload":
        await pilot.press("2")
        await wait_for_workers(pilot)
    screen = pilot.app.screen
    assert isinstance(screen, UploadScreen)
    return screen


async def wait_for_proposals(pilot: Pilot[None], app: SealyardApp, count: int = 1) -> None:
    await wait_until(pilot, lambda: len(app.watch_folder.proposals) == count)
    await wait_for_workers(pilot)


def package_requests(workspace: TuiWorkspace) -> list[PackageRequest]:
    return [request for (request,) in workspace.faults.calls_of("create_package")]


async def test_title_shows_watched_folder(workspace: TuiWorkspace, drop_folder: Path) -> None:
    app = make_watching_app(workspace, drop_folder)
    async with run_app(app) as pilot:
        await open_upload_screen(pilot)
        await wait_until(pilot, lambda: "watching" in screen_text(app))
        await assert_visible(pilot, "for gateway (propose)")


async def test_dropped_file_is_proposed_with_notification(workspace: TuiWorkspace, drop_folder: Path) -> None:
    app = make_watching_app(workspace, drop_folder)
    calls: list[str] = []
    app.watch_folder._alert = calls.append
    async with run_app(app) as pilot:
        await pilot.press("5")
        (drop_folder / "[bold]fw.bin").write_bytes(b"firmware")
        await wait_for_proposals(pilot, app)
        await wait_until(pilot, lambda: "1 package is ready in the watch folder" in screen_text(app))
        assert len(calls) == 1
        await open_upload_screen(pilot)
        await assert_visible(pilot, "[bold]fw.bin")
        await assert_visible(pilot, "◇ proposed: 1")


async def test_proposal_is_submitted_once(workspace: TuiWorkspace, drop_folder: Path) -> None:
    app = make_watching_app(workspace, drop_folder)
    (drop_folder / "fw.bin").write_bytes(b"firmware")
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await open_upload_screen(pilot)
        await wait_for_proposals(pilot, app)
        screen.query_one("#drops", VirtualTable).focus()
        await pilot.press("s")
        await wait_until(pilot, lambda: "submitted: task" in screen_text(app))
        await pilot.press("s")
        await wait_for_workers(pilot)
        (request,) = package_requests(workspace)
        assert [each.name for each in request.firmware] == ["fw.bin"]


async def test_dismissed_proposal_stays_dismissed_after_restart(workspace: TuiWorkspace, drop_folder: Path) -> None:
    (drop_folder / "fw.bin").write_bytes(b"firmware")
    app = make_watching_app(workspace, drop_folder)
    async with run_app(app) as pilot:
        screen = await open_upload_screen(pilot)
        await wait_for_proposals(pilot, app)
        screen.query_one("#drops", VirtualTable).focus()
        await pilot.press("x")
        await wait_until(pilot, lambda: not app.watch_folder.dropped)
    restarted = make_watching_app(workspace, drop_folder)
    async with run_app(restarted) as pilot:
        (drop_folder / "other.bin").write_bytes(b"other")
        await wait_for_proposals(pilot, restarted)
        assert [each.name for each in restarted.watch_folder.proposals] == ["other.bin"]
    assert package_requests(workspace) == []


async def test_proposal_opened_in_form_is_submitted(workspace: TuiWorkspace, drop_folder: Path) -> None:
    app = make_watching_app(workspace, drop_folder)
    (drop_folder / "release" / "metadata").mkdir(parents=True)
    (drop_folder / "release" / "fw.bin").write_bytes(b"firmware")
    (drop_folder / "release" / "metadata" / "notes.json").write_bytes(b"{}")
    async with run_app(app) as pilot:
        screen = await open_upload_screen(pilot)
        await wait_for_proposals(pilot, app)
        screen.query_one("#drops", VirtualTable).focus()
        await pilot.press("f")
        await wait_until(pilot, lambda: not any(each.is_pending for each in screen.form.entries))
        await wait_for_workers(pilot)
        await assert_visible(pilot, "in the form")
        await pilot.press("ctrl+s")
        await wait_for_workers(pilot)
        await pilot.press("y")
        await wait_until(pilot, lambda: not app.watch_folder.dropped)
        (request,) = package_requests(workspace)
        assert request.name == "release"
        assert [each.name for each in request.firmware] == ["fw.bin"]
        assert [each.name for each in request.metadata] == ["notes.json"]


async def test_changed_file_replaces_proposal(workspace: TuiWorkspace, drop_folder: Path) -> None:
    app = make_watching_app(workspace, drop_folder)
    (drop_folder / "fw.bin").write_bytes(b"firmware")
    async with run_app(app) as pilot:
        await open_upload_screen(pilot)
        await wait_for_proposals(pilot, app)
        (old,) = app.watch_folder.proposals
        (drop_folder / "fw.bin").write_bytes(b"longer firmware")
        await wait_until(pilot, lambda: app.watch_folder.proposals not in ([old], []))
        app.screen.query_one("#drops", VirtualTable).focus()
        await pilot.press("s")
        await wait_until(pilot, lambda: "submitted: task" in screen_text(app))
        assert package_requests(workspace)[0].firmware[0].size == len(b"longer firmware")


async def test_invalid_drop_is_rejected_with_reason(workspace: TuiWorkspace, drop_folder: Path) -> None:
    (drop_folder / "release" / "stray").mkdir(parents=True)
    (drop_folder / "release" / "fw.bin").write_bytes(b"firmware")
    app = make_watching_app(workspace, drop_folder)
    async with run_app(app) as pilot:
        screen = await open_upload_screen(pilot)
        await wait_until(pilot, lambda: "rejected" in screen_text(app))
        await assert_visible(pilot, "Cannot create a package")
        screen.query_one("#drops", VirtualTable).focus()
        await pilot.press("enter")
        await wait_for_workers(pilot)
        assert "It contains stray, which is a folder" in " ".join(screen_text(app).split())


async def test_submit_mode_creates_task_immediately(workspace: TuiWorkspace, drop_folder: Path) -> None:
    app = make_watching_app(workspace, drop_folder, rule=DropAction.SUBMIT)
    async with run_app(app) as pilot:
        (drop_folder / "fw.bin").write_bytes(b"firmware")
        await wait_until(pilot, lambda: package_requests(workspace) != [])
        await open_upload_screen(pilot)
        await wait_until(pilot, lambda: "submitted: task" in screen_text(app))


async def test_missing_watch_folder_shows_error(workspace: TuiWorkspace, drop_folder: Path) -> None:
    app = make_watching_app(workspace, drop_folder / "nowhere")
    async with run_app(app) as pilot:
        screen = await open_upload_screen(pilot)
        await wait_until(pilot, lambda: "watch folder failed" in screen_text(app))
        assert app.screen is screen


async def test_watcher_crash_is_shown(
    workspace: TuiWorkspace, drop_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(_: FolderWatcher) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(FolderWatcher, "run", fault)
    app = make_watching_app(workspace, drop_folder)
    async with run_app(app) as pilot:
        await open_upload_screen(pilot)
        await wait_until(pilot, lambda: "watch folder failed" in screen_text(app))
        assert app.watch_folder.state is WatchState.FAILED


async def test_watch_dialog_settings_survive_restart(workspace: TuiWorkspace, drop_folder: Path) -> None:
    app = make_app(workspace, start_screen="upload")
    async with run_app(app, size=(80, 24)) as pilot:
        await open_upload_screen(pilot)
        await assert_visible(pilot, "watch folder off")
        await pilot.press("w")
        await pilot.pause()
        app.screen.query_one(PathInput).value = str(drop_folder)
        app.screen.query_one("#device").focus()
        await pilot.press("enter")
        await wait_for_workers(pilot)
        await pilot.press("1")
        await wait_for_workers(pilot)
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: app.watch_folder.state is WatchState.WATCHING)
    restarted = make_app(workspace, start_screen="upload")
    async with run_app(restarted) as pilot:
        await wait_until(pilot, lambda: restarted.watch_folder.state is WatchState.WATCHING)
        assert restarted.watch_folder.settings.folder == str(drop_folder)
        await open_upload_screen(pilot)
        await pilot.press("w")
        await pilot.pause()
        restarted.screen.query_one("#off").focus()
        await pilot.press("enter")
        await wait_until(pilot, lambda: restarted.watch_folder.state is WatchState.OFF)


async def test_watch_settings_apply_if_they_cannot_be_saved(
    workspace: TuiWorkspace, drop_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(workspace, start_screen="upload")
    async with run_app(app) as pilot:
        await open_upload_screen(pilot)
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
        await app.watch_folder.configure(WatchFolderSettings(folder=str(drop_folder), device="gateway"))
        assert app.watch_folder.state is WatchState.WATCHING
        await wait_until(pilot, lambda: "XDG_STATE_HOME" in screen_text(app))


async def test_watch_dialog_draft_survives_escape(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, start_screen="upload")
    async with run_app(app) as pilot:
        await open_upload_screen(pilot)
        await pilot.press("w")
        await pilot.pause()
        await pilot.press(*"/srv/drop", "escape", "w")
        await pilot.pause()
        assert isinstance(app.screen, WatchFolderDialog)
        assert app.screen.query_one(PathInput).value == "/srv/drop"


async def test_justification_is_that_of_created_packages(workspace: TuiWorkspace, drop_folder: Path) -> None:
    app = make_watching_app(workspace, drop_folder)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await open_upload_screen(pilot)
        await pilot.press("w")
        await assert_visible(pilot, "justification for the approvers")
        app.screen.query_one("#justification", Input).value = "nightly build"
        await pilot.press("escape", "w")
        await assert_visible(pilot, "nightly build")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: app.watch_folder.settings.justification == "nightly build")
        await wait_for_workers(pilot)
        (drop_folder / "fw.bin").write_bytes(b"firmware")
        (drop_folder / "other.bin").write_bytes(b"other firmware")
        await wait_for_proposals(pilot, app, 2)
        screen.query_one("#drops", VirtualTable).focus()
        await pilot.press("s")
        await wait_until(pilot, lambda: package_requests(workspace))
        assert package_requests(workspace)[0].justification == "nightly build"
        await pilot.press("j", "f")
        await wait_until(pilot, lambda: screen.form.proposals)
        assert screen.form.justification == "nightly build"


async def test_watch_folder_is_separate_per_profile(workspace: TuiWorkspace, drop_folder: Path) -> None:
    app = make_watching_app(workspace, drop_folder)
    (drop_folder / "fw.bin").write_bytes(b"firmware")
    async with run_app(app) as pilot:
        await open_upload_screen(pilot)
        await wait_for_proposals(pilot, app)
        app.switch_profile(next(each for each in app.session.profiles if each.identity == OWNER))
        await wait_until(pilot, lambda: "You do not have permission to use gateway" in screen_text(app))
        assert app.watch_folder.dropped == []
        app.switch_profile(next(each for each in app.session.profiles if each.identity == DEVELOPER))
        await wait_for_proposals(pilot, app)
        assert not isinstance(app.screen, ErrorDialog)


async def test_read_only_disables_watch_folder(workspace: TuiWorkspace, drop_folder: Path) -> None:
    app = make_watching_app(workspace, drop_folder, connection=FakeConnection(workspace, read_only=True))
    async with run_app(app) as pilot:
        await open_upload_screen(pilot)
        assert app.watch_folder.state is WatchState.OFF
