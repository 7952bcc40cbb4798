"""Tests of the choice of an encryption key in the upload form."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button

from sealyard.model.algorithms import EncryptionAlgorithm
from sealyard.model.device_configs import EncryptionKey
from sealyard.model.requests import EncryptionKeyRequest, EncryptionRequest
from sealyard.model.tasks import TaskKind
from sealyard_tui.screens.upload.form_model import UploadForm
from sealyard_tui.screens.upload.format import format_summary
from sealyard_tui.screens.upload.screen import UploadScreen
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, wait_for_workers, wait_until
from tests.tui.task_factories import device, task
from tests.tui.workspace import DEVELOPER, OWNER, TuiWorkspace

OLD_KEY_URI = "local:doors-encryption-2"


@pytest.fixture
async def doors(workspace: TuiWorkspace) -> str:
    """The id of a configuration with two encryption keys, called new and old."""
    config = await workspace.create_device(
        "doors",
        encryption_keys=(
            EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, name="new"),
            EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES128_CTR_NO_PAD, name="old"),
        ),
        use=(DEVELOPER,),
        approve=(OWNER,),
    )
    return config.id


async def open_form(pilot: Pilot[None], config: str, kind: TaskKind = TaskKind.ENCRYPTION) -> UploadScreen:
    screen = pilot.app.screen
    assert isinstance(screen, UploadScreen)
    await wait_until(pilot, lambda: any(each.id == config for each in screen._device_choice.usable))
    screen.form.device, screen.form.kind = config, kind
    screen._show_form()
    await pilot.pause()
    return screen


async def submit_file(pilot: Pilot[None], screen: UploadScreen, path: Path) -> None:
    path.write_bytes(b"firmware")
    screen.add_paths((path,))
    await wait_for_workers(pilot)
    await assert_visible(pilot, "● ready")
    await pilot.press("ctrl+s")
    await assert_visible(pilot, "Submit?", "Encryption key: old")
    await pilot.press("y")
    await wait_for_workers(pilot)


def last_request(workspace: TuiWorkspace) -> EncryptionRequest:
    ((request,),) = workspace.faults.calls_of("create_encryption")[-1:]
    assert isinstance(request, EncryptionRequest)
    return request


async def test_chosen_key_is_requested(workspace: TuiWorkspace, doors: str, tmp_path: Path) -> None:
    app = make_app(workspace, start_screen="upload")
    async with run_app(app) as pilot:
        screen = await open_form(pilot, doors)
        await assert_visible(pilot, "key new", "AES256_CBC_PKCS7_PAD ·")
        await pilot.press("E")
        await assert_visible(pilot, "Choose an encryption key", "local:doors-encryption v1", OLD_KEY_URI)
        await pilot.press("2")
        await assert_visible(pilot, "key old", "AES128_CTR_NO_PAD ·")
        await submit_file(pilot, screen, tmp_path / "fw.bin")
        assert last_request(workspace).encryption_key == OLD_KEY_URI


@pytest.mark.parametrize(("kind", "config"), [(TaskKind.PACKAGING, "doors"), (TaskKind.ENCRYPTION, "gateway")])
async def test_choice_is_hidden_without_alternatives(
    workspace: TuiWorkspace, doors: str, kind: TaskKind, config: str
) -> None:
    app = make_app(workspace, start_screen="upload")
    async with run_app(app) as pilot:
        screen = await open_form(pilot, doors if config == "doors" else "gw", kind)
        assert not screen.query_one("#key", Button).display
        assert not screen.check_action("encryption_key", ())


def two_keys() -> tuple[EncryptionKey, ...]:
    key = device().encryption
    return (key, EncryptionKey(algorithm=key.algorithm, uri="local:second", version=1, name="second"))


def test_resubmission_keeps_key() -> None:
    keys = two_keys()
    form = UploadForm()
    form.load_task(task("t-1", kind=TaskKind.ENCRYPTION, encryption_key=keys[1]))
    config = device(encryption_keys=keys)
    assert form.get_encryption_key(config) == keys[1]
    assert "Encryption key: second" in format_summary(form, config, (), []).plain


def test_resubmission_with_removed_key_requires_choice() -> None:
    form = UploadForm()
    form.load_task(task("t-1", kind=TaskKind.ENCRYPTION, encryption_key=two_keys()[1]))
    config = device()
    assert form.offers_encryption_keys(config)
    assert form.get_encryption_key(config) is None
