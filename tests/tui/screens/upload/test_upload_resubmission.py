"""Tests of submitting a rejected, withdrawn or failed task again, and of justifications."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from sealyard.client.source_paths import SourcePaths
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.device_configs import SigningKey
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import InputFile, Task, TaskKind
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.screens.dashboard.screen import DashboardScreen
from sealyard_tui.screens.upload.earlier_files import find_sources
from sealyard_tui.screens.upload.form_model import FileRole, UploadForm
from sealyard_tui.screens.upload.path_input import PathInput
from sealyard_tui.screens.upload.screen import UploadScreen
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.task_factories import task
from tests.tui.workspace import DEVELOPER, TuiWorkspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fw.bin").write_bytes(b"firmware" * 1000)
    (tmp_path / "release.json").write_text("{}")
    return tmp_path


async def submit_package(pilot: Pilot[None], workspace: TuiWorkspace, folder: Path) -> Task:
    """Submit a package in the form, have the owner reject it, and return it."""
    await pilot.press("2")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, UploadScreen))
    screen = upload_screen(pilot)
    screen.add_paths((folder / "fw.bin",))
    screen.add_paths((folder / "release.json",), FileRole.METADATA)
    await wait_for_uploads(pilot)
    await pilot.press("d", "1", "W")
    assert pilot.app.focused is screen.query_one("#justification", Input)
    screen.query_one("#justification", Input).value = "fixes the watchdog"
    await pilot.press("escape")
    await submit(pilot)
    (task,) = [each for each in workspace.tasks() if each.inputs[0].name == "fw.bin"]
    await workspace.reject(task)
    return task


async def submit(pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+s")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await pilot.press("y")
    await wait_for_workers(pilot)


async def wait_for_uploads(pilot: Pilot[None]) -> None:
    await wait_for_workers(pilot)
    await wait_until(pilot, lambda: not any(each.is_pending for each in upload_screen(pilot).form.entries))
    await wait_for_workers(pilot)


async def press_resubmit(pilot: Pilot[None], task_id: str) -> None:
    await pilot.press("1")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, DashboardScreen))
    await wait_for_workers(pilot)
    dashboard = pilot.app.screen
    assert isinstance(dashboard, DashboardScreen)
    await wait_until(pilot, lambda: dashboard.table.move_cursor_to(task_id) or dashboard.table.cursor_key == task_id)
    await wait_until(pilot, lambda: dashboard.check_action("resubmit", ()))
    await pilot.press("a")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, UploadScreen | ConfirmDialog))
    await wait_for_workers(pilot)


def upload_screen(pilot: Pilot[None]) -> UploadScreen:
    return next(each for each in pilot.app.screen_stack if isinstance(each, UploadScreen))


def last_request(workspace: TuiWorkspace) -> PackageRequest:
    ((request,),) = workspace.faults.calls_of("create_package")[-1:]
    assert isinstance(request, PackageRequest)
    return request


async def test_rejected_package_is_submitted_again(workspace: TuiWorkspace, folder: Path) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        earlier = await submit_package(pilot, workspace, folder)
        assert last_request(workspace).justification == "fixes the watchdog"
        await press_resubmit(pilot, earlier.id)
        await wait_for_uploads(pilot)
        await assert_visible(
            pilot, "Resubmission of fw.bin, REJECTED: wrong bootloader", "fixes the watchdog", "● ready"
        )
        form = upload_screen(pilot).form
        assert [(each.role, each.path) for each in form.entries] == [
            (FileRole.FIRMWARE, folder / "fw.bin"),
            (FileRole.METADATA, folder / "release.json"),
        ]
        await submit(pilot)
        request = last_request(workspace)
        assert (request.resubmission_of, request.justification) == (earlier.id, "fixes the watchdog")
        assert (request.firmware, request.metadata) == (earlier.inputs, earlier.metadata)
        assert (form.is_empty, "New task" in screen_text(app)) == (True, True)


async def test_changed_and_missing_files_are_shown(workspace: TuiWorkspace, folder: Path) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        earlier = await submit_package(pilot, workspace, folder)
        (folder / "release.json").unlink()
        (folder / "fw.bin").write_bytes(bytes(8000))
        await press_resubmit(pilot, earlier.id)
        await wait_for_uploads(pilot)
        await assert_visible(pilot, "not found on this machine: release.json", "SHA-256 mismatch")
        assert isinstance(app.focused, PathInput)
        await assert_visible(pilot, "not ready: fix or remove fw.bin")


async def test_filled_form_is_replaced_only_after_confirmation(workspace: TuiWorkspace, folder: Path) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        earlier = await submit_package(pilot, workspace, folder)
        form = upload_screen(pilot).form
        form.name = "unfinished"
        await press_resubmit(pilot, earlier.id)
        assert isinstance(app.screen, ConfirmDialog)
        await pilot.press("n")
        assert (form.name, form.earlier_task) == ("unfinished", None)
        await press_resubmit(pilot, earlier.id)
        await pilot.press("y")
        await wait_for_uploads(pilot)
        assert form.earlier_task is not None
        assert form.name == "fw.bin"


async def test_resubmit_is_unavailable_for_other_tasks(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        dashboard = app.screen
        assert isinstance(dashboard, DashboardScreen)
        for task_id, is_available in (("t-waiting", None), ("t-done", None), ("t-failed", True), ("t-rejected", True)):
            dashboard.table.move_cursor_to(task_id)
            await pilot.pause()
            assert dashboard.check_action("resubmit", ()) is is_available
        await assert_visible(pilot, "Press a to submit it again.")


async def test_approver_sees_justification_and_earlier_reason(workspace: TuiWorkspace) -> None:
    file = await workspace.upload()
    client = workspace.client(DEVELOPER)
    request = PackageRequest(
        config="gateway",
        firmware=(file,),
        name="gateway 1.6.0",
        justification="rebuilt \x1b]2;with the [b]right[/b] bootloader",
        resubmission_of="t-rejected",
    )
    await client.create_package(request)
    app = make_app(workspace, "owner", start_screen="approvals")
    async with run_app(app) as pilot:
        await pilot.press("g")
        await wait_for_workers(pilot)
        await assert_visible(pilot, "rebuilt \\x1b]2;with the [b]right[/b] bootloader", "wrong bootloader", "REJECTED")


async def test_long_justification_blocks_submit() -> None:
    form = UploadForm()
    form.justification = "x" * 2001
    assert not form.is_empty
    form.justification = ""
    assert form.is_empty


def test_file_of_signed_digest_is_found(tmp_path: Path) -> None:
    path = tmp_path / "manifest.bin"
    path.write_bytes(b"manifest")
    SourcePaths().remember({"ab" * 32: path})
    digest = base64.b64encode(b"\xab" * 32).decode()
    signing_task = task(
        "t-signing",
        kind=TaskKind.SIGNING,
        inputs=(InputFile(name="manifest.bin", size=32, sha256="cd" * 32, inline=digest),),
        metadata=(),
        signing_key=SigningKey(algorithm=SigningAlgorithm.SHA256_RSA_3072_PSS, uri="local:signing", version=1),
    )
    (source,) = find_sources(signing_task)
    assert (source.path, source.sha256) == (path, "ab" * 32)
