"""Test the client of an engine in this process."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.engine.create_workspace import create_workspace
from sealyard.engine.tasks.recovery import Recovery
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.access import Action, Role, device_resource, is_allowed, roles_for
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, SigningKeyRequest
from sealyard.model.tasks import Task
from sealyard.model.workspace import KeyStore, WorkspacePaths
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT
from tests.support.workspace_files import open_engine

ADMIN, DEVELOPER, OWNER = "USER:admin", "USER:dev", "USER:owner"
PASSPHRASE = "a canary among passphrases"


@pytest.fixture(scope="module")
def workspace_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a workspace with subjects, and the device configuration `door` that a group approves."""
    folder = tmp_path_factory.mktemp("template") / "workspace"

    async def create() -> None:
        await create_workspace(
            WorkspacePaths(folder),
            name="factory",
            administrator=ADMIN,
            key_store=KeyStore.PASSPHRASE,
            key_holder=unlock(PASSPHRASE),
        )
        async with open_engine(folder, work=False) as engine:
            admin = engine.client(ADMIN)
            for each in (DEVELOPER, OWNER, "GROUP:owners"):
                await admin.add_subject(each)
            await admin.add_member("GROUP:owners", OWNER)
            await admin.create_device(
                DeviceRequest(
                    name="door",
                    encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
                    signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
                    use=(DEVELOPER,),
                    approve=("GROUP:owners",),
                )
            )

    asyncio.run(create())
    return folder


@pytest.fixture
def workspace(workspace_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(workspace_template, tmp_path / "workspace"))


def test_permissions_include_group_membership(workspace: Path) -> None:
    async def main() -> None:
        async with open_engine(workspace, work=False) as engine:
            admin = engine.client(ADMIN)
            door = device_resource((await admin.device("door")).id)
            rights = {each: (await engine.client(each).workspace()).rights for each in (ADMIN, DEVELOPER, OWNER)}
        assert is_allowed(rights[OWNER], Action.APPROVE, door)
        assert not is_allowed(rights[DEVELOPER], Action.APPROVE, door)
        assert [roles_for(each) for each in rights.values()] == [
            (Role.ADMINISTRATOR,),
            (Role.DEVELOPER,),
            (Role.PRODUCT_OWNER,),
        ]

    asyncio.run(main())


def test_closed_client_keeps_engine_open(workspace: Path) -> None:
    async def main() -> None:
        async with open_engine(workspace, work=False) as engine:
            await engine.client(DEVELOPER).close()
            assert (await engine.client(ADMIN).workspace()).subject == ADMIN
            assert WorkspaceLock.holder(workspace / "lock") is not None
        assert WorkspaceLock.holder(workspace / "lock") is None

    asyncio.run(main())


def test_events_are_transferred_in_batches(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    call = LoopThread.call

    async def count_call(self: LoopThread, work: Coroutine[Any, Any, Any]) -> Any:
        nonlocal calls
        calls += 1
        return await call(self, work)

    async def main() -> None:
        async with open_engine(workspace, work=False) as engine:
            admin = engine.client(ADMIN)
            before = 0
            for number in range(20):
                await admin.add_subject(f"USER:person{number}")
            monkeypatch.setattr(LoopThread, "call", count_call)
            events = admin.events(before)
            cursors = [(await anext(events)).cursor for _ in range(20)]
            await events.aclose()
        assert cursors == list(range(1, 21))
        assert calls < 10

    asyncio.run(asyncio.wait_for(main(), TIMEOUT))


def test_cancelled_open_releases_lock_after_writing(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock must be held until the thread has stopped writing, and must be released then."""
    started, release = threading.Event(), threading.Event()
    load_unfinished = Recovery._load_unfinished

    def load_slowly(self: Recovery) -> list[Task]:
        started.set()
        assert release.wait(TIMEOUT)
        assert WorkspaceLock.holder(workspace / "lock") is not None
        return load_unfinished(self)

    async def main() -> None:
        monkeypatch.setattr(Recovery, "_load_unfinished", load_slowly)
        opening = asyncio.create_task(EngineHandle.open(workspace, purpose="test", key_holder=unlock(PASSPHRASE)))
        await asyncio.to_thread(started.wait, TIMEOUT)
        for _ in range(3):
            opening.cancel()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert not opening.done()
        assert WorkspaceLock.holder(workspace / "lock") is not None
        release.set()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert WorkspaceLock.holder(workspace / "lock") is None
        monkeypatch.setattr(Recovery, "_load_unfinished", load_unfinished)
        async with open_engine(workspace, work=False) as engine:
            assert (await engine.client(ADMIN).workspace()).name == "factory"

    asyncio.run(main())
