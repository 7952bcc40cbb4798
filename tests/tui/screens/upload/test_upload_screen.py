"""Tests of the upload screen: keys, validation, drafts and submission."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from sealyard.model.access import Action
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, SigningAlgorithm
from sealyard.model.errors import StorageError
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import TaskKind
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.screens.upload.form_model import FileRole
from sealyard_tui.screens.upload.path_input import PathInput
from sealyard_tui.screens.upload.screen import UploadScreen
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import DEVELOPER, OWNER, TuiWorkspace

HOSTILE = ("fw[/oops].bin", "[@click=app.quit]x", "[bold red]signed[/b]", "a\x1b]2;PWNED\x07b", "gnp\u202eexe")


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    folder = tmp_path / "firmware files"
    folder.mkdir()
    for name, size in (("bootloader.bin", 65536), ("application.bin", 1_000_001), ("release.json", 20)):
        (folder / name).write_bytes(name.encode() * (size // len(name) + 1))
    return folder


def make_upload_app(workspace: TuiWorkspace, profile_name: str = "developer", **settings: Any) -> SealyardApp:
    """Return an application that starts on the upload screen."""
    return make_app(workspace, profile_name, start_screen="upload", **settings)


def upload_of(app: SealyardApp) -> UploadScreen:
    return next(each for each in app.screen_stack if isinstance(each, UploadScreen))


async def wait_for_upload_screen(pilot: Pilot[None]) -> UploadScreen:
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, UploadScreen))
    return upload_of(pilot.app)  # type: ignore[arg-type]


async def wait_for_uploads(pilot: Pilot[None], screen: UploadScreen) -> None:
    await wait_until(pilot, lambda: not any(each.is_pending for each in screen.form.entries))
    await wait_for_workers(pilot)


async def add_files(pilot: Pilot[None], screen: UploadScreen, *paths: Path) -> None:
    screen.add_paths(paths)
    await wait_for_workers(pilot)
    await wait_for_uploads(pilot, screen)


async def paste_text(pilot: Pilot[None], text: str) -> None:
    pilot.app.post_message(events.Paste(text))
    await pilot.pause()
    await wait_for_workers(pilot)


async def choose_device(pilot: Pilot[None]) -> None:
    await pilot.press("d")
    await pilot.pause()
    await pilot.press("1")
    await wait_for_workers(pilot)


async def submit(pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+s")
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
    await pilot.press("y")
    await wait_for_workers(pilot)


def package_requests(workspace: TuiWorkspace) -> list[PackageRequest]:
    return [request for (request,) in workspace.faults.calls_of("create_package")]


def discarded_names(workspace: TuiWorkspace) -> list[str]:
    return [file.name for (files,) in workspace.faults.calls_of("discard_uploads") for file in files]


async def test_package_is_created_with_keyboard_only(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await pilot.press("a")
        for name in ("bootloader.bin", "application.bin"):
            screen.query_one(PathInput).value = str(firmware / name)
            await pilot.press("enter")
            await wait_for_workers(pilot)
        await pilot.press("escape")
        await wait_for_uploads(pilot, screen)
        await choose_device(pilot)
        await submit(pilot)
        (request,) = package_requests(workspace)
        assert [each.name for each in request.firmware] == ["bootloader.bin", "application.bin"]
        assert request.config == "gw"
        await assert_visible(pilot, "(o: open)")
        assert screen.form.entries == []
        await pilot.press("o")
        await wait_until(pilot, lambda: app.current_mode == "dashboard")


async def test_uploaded_file_shows_digest_and_size(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin")
        text = screen_text(app)
        assert hashlib.sha256((firmware / "bootloader.bin").read_bytes()).hexdigest() in text
        assert "64.0 KiB" in text


async def test_upload_shows_progress(workspace: TuiWorkspace, firmware: Path) -> None:
    workspace.faults.hold["upload"] = asyncio.Event()
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        screen.add_paths((firmware / "bootloader.bin",))
        await wait_until(pilot, lambda: "uploading: " in screen_text(app))
        await assert_visible(pilot, "0 %")
        assert "wait for bootloader.bin" in screen_text(app)
        workspace.faults.hold["upload"].set()
        await wait_for_uploads(pilot, screen)
        assert "uploading: " not in screen_text(app)


@pytest.mark.parametrize(
    ("make_invalid", "words"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: (path.unlink(), path.mkdir()), "is a directory"),
        (lambda path: path.unlink(), "not found"),
    ],
)
async def test_invalid_file_shows_error_and_blocks_submit(
    workspace: TuiWorkspace, firmware: Path, make_invalid: Callable[[Path], object], words: str
) -> None:
    app = make_upload_app(workspace)
    make_invalid(firmware / "application.bin")
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin", firmware / "application.bin")
        (line,) = [each for each in screen_text(app).splitlines() if "firmware 2" in each]
        assert "✗" in line
        assert words in line
        assert screen.form.entries[0].file is not None
        await pilot.press("ctrl+s")
        await pilot.pause()
        await assert_visible(pilot, "fix or remove application.bin")
        assert package_requests(workspace) == []


async def test_retry_key_uploads_fixed_file(workspace: TuiWorkspace, firmware: Path) -> None:
    (firmware / "application.bin").write_bytes(b"")
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "application.bin")
        (firmware / "application.bin").write_bytes(b"whole")
        await pilot.press("u")
        await wait_for_workers(pilot)
        await wait_until(pilot, lambda: screen.form.entries[0].file is not None)
        assert screen.form.entries[0].size == 5


async def test_keys_reorder_files_and_set_role(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(
            pilot, screen, *(firmware / each for each in ("bootloader.bin", "application.bin", "release.json"))
        )
        await pilot.press("G", "m", "g", "J")
        await wait_for_workers(pilot)
        assert [(each.name, each.role) for each in screen.form.entries] == [
            ("application.bin", FileRole.FIRMWARE),
            ("bootloader.bin", FileRole.FIRMWARE),
            ("release.json", FileRole.METADATA),
        ]
        await pilot.press("shift+up")
        assert [each.name for each in screen.form.get_files(FileRole.FIRMWARE)] == ["bootloader.bin", "application.bin"]
        await pilot.press("shift+up")
        assert [each.name for each in screen.form.get_files(FileRole.FIRMWARE)] == ["bootloader.bin", "application.bin"]


async def test_removed_file_is_discarded(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin", firmware / "application.bin")
        await pilot.press("g", "x")
        await wait_until(pilot, lambda: discarded_names(workspace) == ["bootloader.bin"])
        assert [each.name for each in screen.form.entries] == ["application.bin"]


async def test_clear_form_asks_and_discards_files(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin", firmware / "application.bin")
        await pilot.press("X")
        await pilot.pause()
        await pilot.press("n")
        await pilot.pause()
        assert len(screen.form.entries) == 2
        await pilot.press("X")
        await pilot.pause()
        await pilot.press("y")
        await wait_until(pilot, lambda: len(discarded_names(workspace)) == 2)
        assert screen.form.is_empty


async def test_exit_discards_unsubmitted_files(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin")
    assert discarded_names(workspace) == ["bootloader.bin"]


async def test_submitted_files_are_not_discarded(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin")
        await choose_device(pilot)
        await submit(pilot)
        assert len(package_requests(workspace)) == 1
    assert discarded_names(workspace) == []


async def test_retried_submit_reuses_client_token(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    workspace.faults.fail["create_package"] = StorageError("The answer was lost.", "Try again.")
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin")
        screen.form.name = "gateway 1.6"
        await choose_device(pilot)
        await submit(pilot)
        await assert_visible(pilot, "✗ The answer was lost.", "→ Try again.")
        await pilot.press("escape")
        assert [each.name for each in screen.form.entries] == ["bootloader.bin"]
        del workspace.faults.fail["create_package"]
        await submit(pilot)
        first, second = package_requests(workspace)
        assert first == second
        assert first.client_token


async def test_new_request_uses_new_client_token(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        for _ in range(2):
            await add_files(pilot, screen, firmware / "bootloader.bin")
            if not screen.form.device:
                await choose_device(pilot)
            await submit(pilot)
        first, second = package_requests(workspace)
        assert first.client_token != second.client_token


async def test_pasted_paths_and_urls_are_added(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    one, two, three = (firmware / each for each in ("bootloader.bin", "application.bin", "release.json"))
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await paste_text(pilot, f"'{one}' '{two}'\n{three.as_uri()}\n")
        assert [each.path for each in screen.form.entries] == [one, two, three]


async def test_missing_path_shows_error_and_stays(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await pilot.press("a", *"~/nothing", "enter")
        await wait_for_workers(pilot)
        await assert_visible(pilot, "not found")
        assert screen.query_one(PathInput).value == "~/nothing"
        await pilot.press("escape")
        await paste_text(pilot, f"'{firmware / 'bootloader.bin'}' '/no/such thing'")
        assert [each.name for each in screen.form.entries] == ["bootloader.bin"]
        assert screen.query_one(PathInput).value == "'/no/such thing'"


async def test_tab_completes_path_then_moves_focus(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await pilot.press("a")
        line = screen.query_one(PathInput)
        line.value = f"{firmware}/boo"
        line.cursor_position = len(line.value)
        await pilot.press("tab")
        await wait_for_workers(pilot)
        await wait_until(pilot, lambda: line.value == str(firmware / "bootloader.bin"))
        await pilot.press("tab")
        await wait_until(pilot, lambda: app.focused is screen.query_one("#files"))


async def test_pasted_checksums_are_compared(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    names = ("bootloader.bin", "application.bin")
    right = hashlib.sha256((firmware / names[0]).read_bytes()).hexdigest()
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, *(firmware / each for each in names))
        await paste_text(pilot, f"{right}  {names[0]}\n{'0' * 64} *{names[1]}\n")
        text = screen_text(app)
        assert "as expected" in text
        assert "SHA-256 mismatch for " in text
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert not isinstance(app.screen, ConfirmDialog)


async def test_expected_digest_mismatch_shows_error(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin")
        await pilot.press("e")
        await pilot.pause()
        app.screen.query_one(TextArea).text = "f" * 64
        await pilot.press("ctrl+s")
        await wait_for_workers(pilot)
        await assert_visible(pilot, "SHA-256 mismatch")
        await pilot.press("u")
        await wait_for_workers(pilot)
        await wait_until(pilot, lambda: screen.form.entries[0].error is not None)


async def test_oversized_metadata_blocks_submit(workspace: TuiWorkspace, firmware: Path) -> None:
    (firmware / "release.json").write_bytes(b"x" * 70_000)
    app = make_upload_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await choose_device(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin", firmware / "release.json")
        await pilot.press("G", "m")
        await wait_for_workers(pilot)
        await wait_until(pilot, lambda: "65535" in screen_text(app))
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert not isinstance(app.screen, ConfirmDialog)


async def test_zero_padding_warning_precedes_submit(workspace: TuiWorkspace, firmware: Path) -> None:
    encryption = EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD
    await workspace.create_device("bootloader", encryption=encryption, use=(DEVELOPER,), approve=(OWNER,))
    app = make_upload_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await choose_device(pilot)
        await add_files(pilot, screen, firmware / "application.bin")
        await wait_until(pilot, lambda: "not a multiple of 16" in screen_text(app))
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await assert_visible(pilot, "not a multiple of 16")


async def test_typed_values_survive_screen_and_profile_switch(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin")
        await pilot.press("n", *"v16", "escape", "a", *"/h", "escape", "1")
        await wait_for_workers(pilot)
        await pilot.press("2")
        await wait_for_workers(pilot)
        assert screen.query_one("#name", Input).value == "v16"
        await pilot.press("f2")
        await wait_until(pilot, lambda: app.state.identity != DEVELOPER and bool(app.state.roles))
        await wait_for_workers(pilot)
        assert screen.query_one("#name", Input).value == ""
        assert "bootloader.bin" not in screen_text(app)
        app.switch_profile(next(each for each in app.session.profiles if each.identity == DEVELOPER))
        await wait_until(pilot, lambda: app.state.identity == DEVELOPER and bool(app.state.roles))
        await wait_for_workers(pilot)
        assert screen.query_one("#name", Input).value == "v16"
        assert screen.query_one("#line", Input).value == "/h"
        await assert_visible(pilot, "bootloader.bin")


async def test_typing_triggers_no_key_bindings(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin")
        await pilot.press("n", *"xdbwXq2")
        assert screen.query_one("#name", Input).value == "xdbwXq2"
        assert app.screen is screen
        assert len(screen.form.entries) == 1


async def test_device_list_contains_only_usable_configurations(workspace: TuiWorkspace) -> None:
    await workspace.remove_rule(DEVELOPER, Action.USE)
    await workspace.add_rule(DEVELOPER, "DEVICE_CONFIG:gateway", Action.USE)
    app = make_upload_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        assert screen.form.device == "gw"
        await pilot.press("d")
        await pilot.pause()
        text = screen_text(app)
        for words in (
            "gateway v2",
            "AES256_CBC",
            "ECC_NIST_P256",
            "se-1",
            "1 approval",
            "local:gateway-signing v1",
            "! This cipher is not authenticated",
        ):
            assert words in " ".join(text.split())
        assert "sensor" not in text


async def test_missing_use_permission_shows_message(workspace: TuiWorkspace) -> None:
    app = make_upload_app(workspace, "auditor")
    async with run_app(app, size=(80, 24)) as pilot:
        await wait_for_upload_screen(pilot)
        await assert_visible(pilot, "No device configuration available")


async def test_read_only_disables_form(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace, connection=FakeConnection(workspace, read_only=True))
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        screen.add_paths((firmware / "bootloader.bin",))
        await pilot.press("b", "w", "ctrl+s")
        await wait_for_workers(pilot)
        assert app.screen is screen
        assert screen.form.entries == []
        await assert_visible(pilot, "workspace is read-only")
        assert "Browse" not in screen_text(app)


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_file_name_is_escaped(workspace: TuiWorkspace, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    app = make_upload_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await choose_device(pilot)
        await add_files(pilot, screen, tmp_path / name)
        for key in ("e", "escape", "c", "ctrl+s"):
            await pilot.press(key)
            await wait_for_workers(pilot)
            assert all(each.isprintable() for each in screen_text(app).replace("\n", ""))
        assert isinstance(app.screen, ConfirmDialog)


async def test_encryption_requires_exactly_one_file(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await choose_device(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin", firmware / "application.bin")
        await pilot.press("t")
        await pilot.pause()
        await pilot.press("2")
        await wait_for_workers(pilot)
        await assert_visible(pilot, "requires exactly one file")
        await pilot.press("x")
        await wait_for_workers(pilot)
        await submit(pilot)
        await assert_visible(pilot, "(o: open)")
        assert [method for method, _ in workspace.faults.calls if method.startswith("create")] == ["create_encryption"]


@pytest.mark.parametrize("hashed", [True, False])
async def test_signing_offers_hash_or_prehashed_message(workspace: TuiWorkspace, firmware: Path, hashed: bool) -> None:
    signing = SigningAlgorithm.SHA256_RSA_3072_PSS
    await workspace.create_device("data", signing=signing, purpose=KeyPurpose.DATA, use=(DEVELOPER,), approve=(OWNER,))
    digest = bytes(range(32))
    (firmware / "digest").write_bytes(digest)
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await choose_device(pilot)
        screen.form.kind = TaskKind.SIGNING
        await add_files(pilot, screen, firmware / "digest")
        await assert_visible(pilot, "sign the file's SHA-256")
        if not hashed:
            await pilot.press("i")
            await wait_for_workers(pilot)
        await submit(pilot)
        ((request,),) = workspace.faults.calls_of("create_signing")
        assert request.message == (hashlib.sha256(digest).digest() if hashed else digest)


async def test_file_changed_after_upload_shows_warning(workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await choose_device(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin")
        (firmware / "bootloader.bin").write_bytes(b"another")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await wait_until(pilot, lambda: "changed on disk; the uploaded version" in " ".join(screen_text(app).split()))


async def test_quit_asks_with_unsubmitted_files(empty_workspace: TuiWorkspace, firmware: Path) -> None:
    app = make_upload_app(empty_workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        await add_files(pilot, screen, firmware / "bootloader.bin")
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(app.screen, ConfirmDialog)
        assert "Unsubmitted files in the upload form" in " ".join(screen_text(app).split())
        await pilot.press("n", "x", "q")
        await wait_until(pilot, lambda: app._exit)


async def test_engine_events_cause_no_reload(workspace: TuiWorkspace) -> None:
    app = make_upload_app(workspace)
    async with run_app(app) as pilot:
        screen = await wait_for_upload_screen(pilot)
        before = screen.loaded_at
        reads: list[None] = []

        async def load() -> None:
            reads.append(None)

        screen.load = load  # type: ignore[method-assign]
        await workspace.add_tasks(200)
        await wait_until(pilot, lambda: len(workspace.tasks()) > 200)
        await wait_for_workers(pilot)
        assert reads == []
        assert before is not None
