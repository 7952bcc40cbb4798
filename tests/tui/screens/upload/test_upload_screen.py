"""The upload place: a form that is worked by keys, tells at once what is wrong, and loses nothing."""

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
from sealyard_tui.dialogs.error import ErrorDialog
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


def begun(workspace: TuiWorkspace, who: str = "developer", **settings: Any) -> SealyardApp:
    """Return an application that starts on the upload screen."""
    return make_app(workspace, who, start_screen="upload", **settings)


def upload_of(app: SealyardApp) -> UploadScreen:
    return next(each for each in app.screen_stack if isinstance(each, UploadScreen))


async def there(pilot: Pilot[None]) -> UploadScreen:
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, UploadScreen))
    return upload_of(pilot.app)  # type: ignore[arg-type]


async def handed_in(pilot: Pilot[None], place: UploadScreen) -> None:
    await wait_until(pilot, lambda: not any(each.is_pending for each in place.form.entries))
    await wait_for_workers(pilot)


async def add(pilot: Pilot[None], place: UploadScreen, *paths: Path) -> None:
    place.add_paths(paths)
    await wait_for_workers(pilot)
    await handed_in(pilot, place)


async def paste(pilot: Pilot[None], text: str) -> None:
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


def packages(workspace: TuiWorkspace) -> list[PackageRequest]:
    return [request for (request,) in workspace.faults.calls_of("create_package")]


def discarded(workspace: TuiWorkspace) -> list[str]:
    return [file.name for (files,) in workspace.faults.calls_of("discard_uploads") for file in files]


async def test_a_package_is_made_by_keys_alone(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        place = await there(pilot)
        await pilot.press("a")
        for name in ("bootloader.bin", "application.bin"):
            place.query_one(PathInput).value = str(firmware / name)
            await pilot.press("enter")
            await wait_for_workers(pilot)
        await pilot.press("escape")
        await handed_in(pilot, place)
        await choose_device(pilot)
        await submit(pilot)
        (request,) = packages(workspace)
        assert [each.name for each in request.firmware] == ["bootloader.bin", "application.bin"]
        assert request.config == "gw"
        await assert_visible(pilot, "(o: open)")
        assert place.form.entries == []
        await pilot.press("o")
        await wait_until(pilot, lambda: app.current_mode == "dashboard")


async def test_digest_and_size_are_shown_when_they_are_known(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "bootloader.bin")
        seen = screen_text(app)
        assert hashlib.sha256((firmware / "bootloader.bin").read_bytes()).hexdigest() in seen
        assert "64.0 KiB" in seen


async def test_progress_is_shown_while_a_file_is_handed_in(workspace: TuiWorkspace, firmware: Path) -> None:
    workspace.faults.hold["upload"] = asyncio.Event()
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        place.add_paths((firmware / "bootloader.bin",))
        await wait_until(pilot, lambda: "uploading: " in screen_text(app))
        await assert_visible(pilot, "0 %")
        assert "wait for bootloader.bin" in screen_text(app)
        workspace.faults.hold["upload"].set()
        await handed_in(pilot, place)
        assert "uploading: " not in screen_text(app)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: (path.unlink(), path.mkdir()), "is a directory"),
        (lambda path: path.unlink(), "not found"),
    ],
)
async def test_what_is_wrong_with_a_file_is_told_beside_it_and_the_rest_is_kept(
    workspace: TuiWorkspace, firmware: Path, spoil: Callable[[Path], object], words: str
) -> None:
    app = begun(workspace)
    spoil(firmware / "application.bin")
    async with run_app(app, size=(80, 24)) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "bootloader.bin", firmware / "application.bin")
        (line,) = [each for each in screen_text(app).splitlines() if "firmware 2" in each]
        assert "✗" in line
        assert words in line
        assert place.form.entries[0].file is not None
        await pilot.press("ctrl+s")
        await pilot.pause()
        await assert_visible(pilot, "fix or remove application.bin")
        assert packages(workspace) == []


async def test_a_file_that_was_put_right_is_handed_in_again_by_key(workspace: TuiWorkspace, firmware: Path) -> None:
    (firmware / "application.bin").write_bytes(b"")
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "application.bin")
        (firmware / "application.bin").write_bytes(b"whole")
        await pilot.press("u")
        await wait_for_workers(pilot)
        await wait_until(pilot, lambda: place.form.entries[0].file is not None)
        assert place.form.entries[0].size == 5


async def test_files_are_put_in_order_by_key_and_made_metadata(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await add(pilot, place, *(firmware / each for each in ("bootloader.bin", "application.bin", "release.json")))
        await pilot.press("G", "m", "g", "J")
        await wait_for_workers(pilot)
        assert [(each.name, each.role) for each in place.form.entries] == [
            ("application.bin", FileRole.FIRMWARE),
            ("bootloader.bin", FileRole.FIRMWARE),
            ("release.json", FileRole.METADATA),
        ]
        await pilot.press("shift+up")
        assert [each.name for each in place.form.get_files(FileRole.FIRMWARE)] == ["bootloader.bin", "application.bin"]
        await pilot.press("shift+up")
        assert [each.name for each in place.form.get_files(FileRole.FIRMWARE)] == ["bootloader.bin", "application.bin"]


async def test_a_removed_file_is_given_back(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "bootloader.bin", firmware / "application.bin")
        await pilot.press("g", "x")
        await wait_until(pilot, lambda: discarded(workspace) == ["bootloader.bin"])
        assert [each.name for each in place.form.entries] == ["application.bin"]


async def test_an_emptied_form_gives_all_back_and_asks_before(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "bootloader.bin", firmware / "application.bin")
        await pilot.press("X")
        await pilot.pause()
        await pilot.press("n")
        await pilot.pause()
        assert len(place.form.entries) == 2
        await pilot.press("X")
        await pilot.pause()
        await pilot.press("y")
        await wait_until(pilot, lambda: len(discarded(workspace)) == 2)
        assert place.form.is_empty


async def test_what_no_task_came_of_is_given_back_at_the_end(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "bootloader.bin")
    assert discarded(workspace) == ["bootloader.bin"]


async def test_a_made_task_keeps_its_files(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "bootloader.bin")
        await choose_device(pilot)
        await submit(pilot)
        assert len(packages(workspace)) == 1
    assert discarded(workspace) == []


async def test_a_lost_answer_makes_no_second_task_and_loses_nothing(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    workspace.faults.fail["create_package"] = StorageError("The answer was lost.", "Try again.")
    async with run_app(app) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "bootloader.bin")
        place.form.name = "gateway 1.6"
        await choose_device(pilot)
        await submit(pilot)
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await pilot.press("escape")
        assert [each.name for each in place.form.entries] == ["bootloader.bin"]
        del workspace.faults.fail["create_package"]
        await submit(pilot)
        first, second = packages(workspace)
        assert first == second
        assert first.client_token


async def test_another_request_takes_another_token(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        for _ in range(2):
            await add(pilot, place, firmware / "bootloader.bin")
            if not place.form.device:
                await choose_device(pilot)
            await submit(pilot)
        first, second = packages(workspace)
        assert first.client_token != second.client_token


async def test_several_pasted_lines_and_quoted_paths_and_urls_add_all(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    one, two, three = (firmware / each for each in ("bootloader.bin", "application.bin", "release.json"))
    async with run_app(app) as pilot:
        place = await there(pilot)
        await paste(pilot, f"'{one}' '{two}'\n{three.as_uri()}\n")
        assert [each.path for each in place.form.entries] == [one, two, three]


async def test_a_path_that_is_not_there_says_so_and_stays_in_the_line(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        place = await there(pilot)
        await pilot.press("a", *"~/nothing", "enter")
        await wait_for_workers(pilot)
        await assert_visible(pilot, "not found")
        assert place.query_one(PathInput).value == "~/nothing"
        await pilot.press("escape")
        await paste(pilot, f"'{firmware / 'bootloader.bin'}' '/no/such thing'")
        assert [each.name for each in place.form.entries] == ["bootloader.bin"]
        assert place.query_one(PathInput).value == "'/no/such thing'"


async def test_tab_completes_a_path_and_else_goes_on(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await pilot.press("a")
        line = place.query_one(PathInput)
        line.value = f"{firmware}/boo"
        line.cursor_position = len(line.value)
        await pilot.press("tab")
        await wait_for_workers(pilot)
        await wait_until(pilot, lambda: line.value == str(firmware / "bootloader.bin"))
        await pilot.press("tab")
        await wait_until(pilot, lambda: app.focused is place.query_one("#files"))


async def test_sha256sum_output_is_taken_apart(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    names = ("bootloader.bin", "application.bin")
    right = hashlib.sha256((firmware / names[0]).read_bytes()).hexdigest()
    async with run_app(app, size=(80, 24)) as pilot:
        place = await there(pilot)
        await add(pilot, place, *(firmware / each for each in names))
        await paste(pilot, f"{right}  {names[0]}\n{'0' * 64} *{names[1]}\n")
        seen = screen_text(app)
        assert "as expected" in seen
        assert "SHA-256 mismatch for " in seen
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert not isinstance(app.screen, ConfirmDialog)


async def test_an_expected_digest_goes_along_and_another_content_is_told(
    workspace: TuiWorkspace, firmware: Path
) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "bootloader.bin")
        await pilot.press("e")
        await pilot.pause()
        app.screen.query_one(TextArea).text = "f" * 64
        await pilot.press("ctrl+s")
        await wait_for_workers(pilot)
        await assert_visible(pilot, "SHA-256 mismatch")
        await pilot.press("u")
        await wait_for_workers(pilot)
        await wait_until(pilot, lambda: place.form.entries[0].error is not None)


async def test_what_the_format_cannot_hold_is_told_at_once(workspace: TuiWorkspace, firmware: Path) -> None:
    (firmware / "release.json").write_bytes(b"x" * 70_000)
    app = begun(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        place = await there(pilot)
        await choose_device(pilot)
        await add(pilot, place, firmware / "bootloader.bin", firmware / "release.json")
        await pilot.press("G", "m")
        await wait_for_workers(pilot)
        await wait_until(pilot, lambda: "65535" in screen_text(app))
        await pilot.press("ctrl+s")
        await pilot.pause()
        assert not isinstance(app.screen, ConfirmDialog)


async def test_zero_padding_is_warned_of_before_submitting(workspace: TuiWorkspace, firmware: Path) -> None:
    encryption = EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD
    await workspace.create_device("bootloader", encryption=encryption, use=(DEVELOPER,), approve=(OWNER,))
    app = begun(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        place = await there(pilot)
        await choose_device(pilot)
        await add(pilot, place, firmware / "application.bin")
        await wait_until(pilot, lambda: "not a multiple of 16" in screen_text(app))
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await assert_visible(pilot, "not a multiple of 16")


async def test_nothing_typed_is_lost_by_places_escape_or_another_person(
    workspace: TuiWorkspace, firmware: Path
) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "bootloader.bin")
        await pilot.press("n", *"v16", "escape", "a", *"/h", "escape", "1")
        await wait_for_workers(pilot)
        await pilot.press("2")
        await wait_for_workers(pilot)
        assert place.query_one("#name", Input).value == "v16"
        await pilot.press("f2")
        await wait_until(pilot, lambda: app.state.identity != DEVELOPER and bool(app.state.roles))
        await wait_for_workers(pilot)
        assert place.query_one("#name", Input).value == ""
        assert "bootloader.bin" not in screen_text(app)
        app.switch_profile(next(each for each in app.session.profiles if each.identity == DEVELOPER))
        await wait_until(pilot, lambda: app.state.identity == DEVELOPER and bool(app.state.roles))
        await wait_for_workers(pilot)
        assert place.query_one("#name", Input).value == "v16"
        assert place.query_one("#line", Input).value == "/h"
        await assert_visible(pilot, "bootloader.bin")


async def test_own_letters_do_not_act_while_one_types(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "bootloader.bin")
        await pilot.press("n", *"xdbwXq2")
        assert place.query_one("#name", Input).value == "xdbwXq2"
        assert app.screen is place
        assert len(place.form.entries) == 1


async def test_only_configurations_that_one_may_use_are_offered(workspace: TuiWorkspace) -> None:
    await workspace.remove_rule(DEVELOPER, Action.USE)
    await workspace.add_rule(DEVELOPER, "DEVICE_CONFIG:gateway", Action.USE)
    app = begun(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        place = await there(pilot)
        assert place.form.device == "gw"
        await pilot.press("d")
        await pilot.pause()
        seen = screen_text(app)
        for words in (
            "gateway v2",
            "AES256_CBC",
            "ECC_NIST_P256",
            "se-1",
            "1 approval",
            "local:gateway-signing v1",
            "! This cipher is not authenticated",
        ):
            assert words in " ".join(seen.split())
        assert "sensor" not in seen


async def test_who_may_use_no_configuration_is_told_so(workspace: TuiWorkspace) -> None:
    app = begun(workspace, "auditor")
    async with run_app(app, size=(80, 24)) as pilot:
        await there(pilot)
        await assert_visible(pilot, "No device configuration available")


async def test_where_it_can_only_be_read_nothing_that_changes_is_offered(
    workspace: TuiWorkspace, firmware: Path
) -> None:
    app = begun(workspace, connection=FakeConnection(workspace, read_only=True))
    async with run_app(app, size=(80, 24)) as pilot:
        place = await there(pilot)
        place.add_paths((firmware / "bootloader.bin",))
        await pilot.press("b", "w", "ctrl+s")
        await wait_for_workers(pilot)
        assert app.screen is place
        assert place.form.entries == []
        await assert_visible(pilot, "workspace is read-only")
        assert "Browse" not in screen_text(app)


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_name_is_harmless_everywhere(workspace: TuiWorkspace, tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    app = begun(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        place = await there(pilot)
        await choose_device(pilot)
        await add(pilot, place, tmp_path / name)
        for key in ("e", "escape", "c", "ctrl+s"):
            await pilot.press(key)
            await wait_for_workers(pilot)
            assert all(each.isprintable() for each in screen_text(app).replace("\n", ""))
        assert isinstance(app.screen, ConfirmDialog)


async def test_encryption_takes_one_file(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await choose_device(pilot)
        await add(pilot, place, firmware / "bootloader.bin", firmware / "application.bin")
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
async def test_what_a_digest_algorithm_signs_is_chosen(workspace: TuiWorkspace, firmware: Path, hashed: bool) -> None:
    signing = SigningAlgorithm.SHA256_RSA_3072_PSS
    await workspace.create_device("data", signing=signing, purpose=KeyPurpose.DATA, use=(DEVELOPER,), approve=(OWNER,))
    digest = bytes(range(32))
    (firmware / "digest").write_bytes(digest)
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await choose_device(pilot)
        place.form.kind = TaskKind.SIGNING
        await add(pilot, place, firmware / "digest")
        await assert_visible(pilot, "sign the file's SHA-256")
        if not hashed:
            await pilot.press("i")
            await wait_for_workers(pilot)
        await submit(pilot)
        ((request,),) = workspace.faults.calls_of("create_signing")
        assert request.message == (hashlib.sha256(digest).digest() if hashed else digest)


async def test_a_file_that_changed_since_is_told_before_submitting(workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await choose_device(pilot)
        await add(pilot, place, firmware / "bootloader.bin")
        (firmware / "bootloader.bin").write_bytes(b"another")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await wait_until(pilot, lambda: "changed on disk; the uploaded version" in " ".join(screen_text(app).split()))


async def test_quitting_asks_while_a_form_is_not_submitted(empty_workspace: TuiWorkspace, firmware: Path) -> None:
    app = begun(empty_workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        await add(pilot, place, firmware / "bootloader.bin")
        await pilot.press("q")
        await pilot.pause()
        assert isinstance(app.screen, ConfirmDialog)
        assert "Unsubmitted files in the upload form" in " ".join(screen_text(app).split())
        await pilot.press("n", "x", "q")
        await wait_until(pilot, lambda: app._exit)


async def test_a_stormy_engine_leads_to_no_reading(workspace: TuiWorkspace) -> None:
    app = begun(workspace)
    async with run_app(app) as pilot:
        place = await there(pilot)
        before = place.loaded_at
        reads: list[None] = []

        async def load() -> None:
            reads.append(None)

        place.load = load  # type: ignore[method-assign]
        await workspace.add_tasks(200)
        await wait_until(pilot, lambda: len(workspace.tasks()) > 200)
        await wait_for_workers(pilot)
        assert reads == []
        assert before is not None
