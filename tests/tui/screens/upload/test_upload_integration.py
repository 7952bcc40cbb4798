"""Test the upload form with a real engine, from files on disk to a pending task."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest

from sealyard.client.config.profiles import Profile
from sealyard.client.config.settings_loader import Settings
from sealyard.client.embedded import EmbeddedClient
from sealyard.client.engine_handle import EngineHandle
from sealyard.client.protocol import Client
from sealyard.engine.create_workspace import create_workspace
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, SigningKeyRequest, TaskFilter
from sealyard.model.tasks import TaskStatus
from sealyard.model.workspace import KeyStore, WorkspacePaths
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.screens.upload.form_model import FileRole
from sealyard_tui.screens.upload.screen import UploadScreen
from sealyard_tui.session.connections import ErrorCallback, StatusCallback
from sealyard_tui.session.messages import ConnectionMode
from sealyard_tui.session.session import Session
from tests.support.key_holders import unlock
from tests.tui.pilot_helpers import assert_visible, run_app, screen_text, wait_for_workers, wait_until

ADMIN, DEVELOPER, OWNER = "USER:admin", "USER:dev", "USER:owner"
PASSPHRASE = "a canary among passphrases"


class OpenEngine:
    """:class:`sealyard_tui.session.connections.WorkspaceConnection` to an engine that is open already."""

    mode = ConnectionMode.OWNER
    host = ""
    read_only = False
    read_only_error = None
    gate = None

    def __init__(self, engine: EngineHandle) -> None:
        self._engine = engine
        self.on_error: ErrorCallback = lambda _: None

    async def connect(self, profile: Profile, on_link: StatusCallback) -> EmbeddedClient:
        return self._engine.client(profile.identity)

    async def open_preview(self, _: Profile) -> Client | None:
        return None

    async def close_preview(self) -> None:
        return None

    async def start_listening(self) -> None:
        return None

    async def close(self) -> None:
        return None


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"

    async def create() -> None:
        paths = WorkspacePaths(folder)
        await create_workspace(
            paths, name="factory", administrator=ADMIN, key_store=KeyStore.PASSPHRASE, key_holder=unlock(PASSPHRASE)
        )
        engine = await open_engine(folder)
        client = engine.client(ADMIN)
        for each in (DEVELOPER, OWNER):
            await client.add_subject(each)
        await client.create_device(
            DeviceRequest(
                name="door",
                encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
                use=(DEVELOPER,),
                approve=(OWNER,),
            )
        )
        await engine.close()

    asyncio.run(create())
    return folder


async def open_engine(folder: Path) -> EngineHandle:
    return await EngineHandle.open(folder, purpose="test", key_holder=unlock(PASSPHRASE), workers=1)


def stored_inputs(workspace: Path) -> set[str]:
    return {each.name for each in workspace.rglob("*") if each.is_file() and len(each.name) == 64}


async def test_submitted_files_create_task_and_release_others(workspace: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("boot.bin", "app.bin", "notes.json", "left-out.bin")}
    for name, path in files.items():
        path.write_bytes(name.encode() * 1000)
    files["closed.bin"] = tmp_path / "folder"
    files["closed.bin"].mkdir()
    engine = await open_engine(workspace)
    try:
        profile = Profile(name="dev", identity=DEVELOPER, workspace=str(workspace))
        app = SealyardApp(Session(OpenEngine(engine), profile, (profile,)), Settings(bell=False, start_screen="upload"))
        async with run_app(app, size=(80, 24)) as pilot:
            screen = app.screen
            assert isinstance(screen, UploadScreen)
            screen.add_paths((files["boot.bin"], files["app.bin"], files["left-out.bin"], files["closed.bin"]))
            screen.add_paths((files["notes.json"],), FileRole.METADATA)
            await wait_until(pilot, lambda: not any(each.is_pending for each in screen.form.entries))
            await wait_for_workers(pilot)
            await assert_visible(pilot, "is a directory")
            await pilot.press("g", "j", "j", "x", "x")
            await wait_for_workers(pilot)
            assert screen.form.device
            await pilot.press("ctrl+s")
            await wait_until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
            await pilot.press("y")
            await wait_until(pilot, lambda: "Created task" in screen_text(app))
        page = await engine.client(DEVELOPER).tasks(TaskFilter())
        (task,) = page.tasks
        assert task.status in (TaskStatus.CREATED, TaskStatus.WAITING)
        assert task.name == "boot and 1 more"
        submitted = [(each.name, each.sha256) for each in (*task.inputs, *task.metadata)]
        names = ("boot.bin", "app.bin", "notes.json")
        assert submitted == [(name, hashlib.sha256(files[name].read_bytes()).hexdigest()) for name in names]
        assert stored_inputs(workspace) == {sha256 for _, sha256 in submitted}
    finally:
        await engine.close()
