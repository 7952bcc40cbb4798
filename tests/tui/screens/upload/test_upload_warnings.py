"""Tests of the warnings of the upload form: invalid metadata, repeated content, and files with the wrong role."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard_tui.screens.upload.form_model import FileRole
from tests.tui.pilot_helpers import assert_visible, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.screens.upload.test_upload_screen import (
    add_files,
    choose_device,
    make_upload_app,
    wait_for_upload_screen,
    wait_for_uploads,
)
from tests.tui.workspace import DEVELOPER, SMALL_FIRMWARE, TuiWorkspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {**SMALL_FIRMWARE, "bad.json": b"{bad", "copy.bin": SMALL_FIRMWARE["application.bin"]}.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


async def test_file_that_looks_like_metadata_is_explained(empty_workspace: TuiWorkspace, folder: Path) -> None:
    app = make_upload_app(empty_workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, folder / "bad.json")
        await assert_visible(pilot, "! bad.json looks like metadata: press m to pack it as metadata.")
        await pilot.press("m")
        await wait_for_workers(pilot)
        assert screen.form.entries[0].role is FileRole.METADATA
        assert "looks like metadata" not in screen_text(app)


async def test_several_files_that_look_like_metadata_are_explained(empty_workspace: TuiWorkspace, folder: Path) -> None:
    (folder / "notes.txt").write_text("notes")
    app = make_upload_app(empty_workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, folder / "bad.json", folder / "notes.txt", folder / "application.bin")
        await assert_visible(pilot, "2 files look like metadata: mark them and press m to pack them as metadata.")


async def test_invalid_metadata_is_a_warning(empty_workspace: TuiWorkspace, folder: Path) -> None:
    app = make_upload_app(empty_workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, folder / "application.bin")
        screen.add_paths((folder / "bad.json",), FileRole.METADATA)
        await wait_for_workers(pilot)
        await wait_for_uploads(pilot, screen)
        await choose_device(pilot)
        await assert_visible(pilot, "! bad.json is not valid JSON: line 1, column 2.")
        (row,) = [line for line in screen_text(app).splitlines() if "metadata 1" in line]
        assert "! is not valid JSON" in row
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: "Submit?" in screen_text(app))
        await assert_visible(pilot, "! bad.json is not valid JSON: line 1, column 2.")


async def test_corrected_metadata_has_no_warning(empty_workspace: TuiWorkspace, folder: Path) -> None:
    app = make_upload_app(empty_workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        screen.add_paths((folder / "bad.json",), FileRole.METADATA)
        await wait_for_workers(pilot)
        await wait_for_uploads(pilot, screen)
        (folder / "bad.json").write_text("{}")
        await pilot.press("u")
        await wait_until(pilot, lambda: screen.form.entries[0].size == 2)
        await wait_for_uploads(pilot, screen)
        assert "not valid JSON" not in screen_text(app)


async def test_same_content_twice_is_a_warning(empty_workspace: TuiWorkspace, folder: Path) -> None:
    app = make_upload_app(empty_workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, folder / "application.bin", folder / "copy.bin")
        await choose_device(pilot)
        await assert_visible(pilot, "! Same content in 2 files: application.bin, copy.bin.")


async def test_repeated_package_is_a_warning(empty_workspace: TuiWorkspace, folder: Path) -> None:
    await empty_workspace.complete(await empty_workspace.add_task(name="gateway 1.4", by=DEVELOPER))
    app = make_upload_app(empty_workspace)
    async with run_app(app, size=(120, 40)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, folder / "application.bin")
        await choose_device(pilot)
        await wait_until(
            pilot, lambda: "! Same files and keys as the last released package: gateway 1.4" in screen_text(app)
        )


async def test_default_name_ignores_files_that_cannot_be_packed(empty_workspace: TuiWorkspace, folder: Path) -> None:
    (folder / "empty.bin").touch()
    app = make_upload_app(empty_workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, folder / "empty.bin", folder / "application.bin")
        assert screen.form.suggested_name == "application.bin"
        await add_files(pilot, screen, folder / "copy.bin")
        assert screen.form.suggested_name == "application and 1 more"
