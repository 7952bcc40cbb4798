"""Tests of an engine whose keys are in a token: its provider process is killed, hangs, and is set up wrongly."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.device_configs import EncryptionKey
from sealyard.model.errors import KeyProviderError, KeyProviderUnavailableError, NotFoundError
from sealyard.model.key_commands import GenerateKey, KeyCommand, ProbeEncryptionKey
from sealyard.model.keys import KeyInfo, WrappingKey
from sealyard.model.requests import (
    DeviceRequest,
    EncryptionKeyRequest,
    KeyRegistration,
    PackageRequest,
    SigningKeyRequest,
    SigningRequest,
)
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.model.worker_messages import KeyResponse
from tests.support.limits import TIMEOUT
from tests.support.processes import find_key_holder, find_providers, suspend, wait_for_exit
from tests.support.provider_process import BACKEND_PYTHONPATH, PIN, store_file_key
from tests.support.workspace_files import (
    ADMIN,
    DEVELOPER,
    OWNER,
    create_workspace_with_device,
    open_engine,
    wait_for_task,
)

pytestmark = pytest.mark.anyio

DEVICE = "gateway"
SETTINGS = """
[keys.seal]
provider = "files"
folder = "{token}"
paths = ["{token}"]
secrets.pin = {{ file = "{pin}" }}
"""


class Token:
    """A folder that is the token of the section ``seal``, and the workspace that uses it."""

    def __init__(self, folder: Path) -> None:
        self.workspace = folder / "workspace"
        self.folder = folder / "token"
        self.folder.mkdir()
        (self.folder / "pin").write_text(PIN)
        store_file_key(self.folder, "signs", KeyType.ED25519)
        store_file_key(self.folder, "wraps", KeyType.AES_256)
        pin_file = folder / "pin"
        pin_file.write_text(PIN)
        pin_file.chmod(0o600)
        self.settings = SETTINGS.format(token=self.folder, pin=pin_file)

    @property
    def logins(self) -> int:
        return (self.folder / "logins").read_text().count("login")

    def set_unavailable(self, value: bool) -> None:
        (self.folder / "unavailable").touch() if value else (self.folder / "unavailable").unlink()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a workspace without a key provider. Tests get copies of it."""
    folder = tmp_path_factory.mktemp("template") / "workspace"
    asyncio.run(create_workspace_with_device(folder))
    return folder


@pytest.fixture
def token(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Token:
    monkeypatch.setenv("PYTHONPATH", BACKEND_PYTHONPATH)
    monkeypatch.delenv("SEALYARD_WORKER_SETTINGS", raising=False)
    token = Token(tmp_path)
    shutil.copytree(template, token.workspace)
    (token.workspace / "worker.toml").write_text(token.settings)
    return token


async def register(engine: EngineHandle, uri: str = "files:signs", kind: KeyType = KeyType.ED25519) -> KeyInfo:
    request = KeyRegistration(uri=uri, kind=kind)
    return await engine.run(engine.engine.execute(ADMIN, "KEY", engine.engine.external_keys.register(ADMIN, request)))


@asynccontextmanager
async def open_with_device(token: Token) -> AsyncIterator[EngineHandle]:
    """Open the engine of a workspace whose device has its signing key in the token."""
    async with open_engine(token.workspace) as engine:
        key = await register(engine)
        await engine.client(ADMIN).create_device(
            DeviceRequest(
                name=DEVICE,
                encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519, uri=key.uri),),
                use=(DEVELOPER,),
                approve=(OWNER,),
            )
        )
        yield engine


async def approve_signing(engine: EngineHandle, name: str = "message") -> Task:
    request = SigningRequest(config=DEVICE, message=name.encode(), file_name=name, name=name)
    task = await engine.client(DEVELOPER).create_signing(request)
    return await engine.client(OWNER).decide(task.id, Verdict.APPROVED)


async def wait_until_done(engine: EngineHandle, task: Task) -> Task:
    return await wait_for_task(engine, task, lambda task: task.status is TaskStatus.DONE)


def find_provider() -> int | None:
    key_holder = find_key_holder(os.getpid())
    return None if key_holder is None else next(iter(find_providers(key_holder)), None)


async def request(engine: EngineHandle, command: KeyCommand) -> KeyResponse:
    return await engine.run(engine.engine.bus.request(command))


async def test_registered_key_signs_messages_and_packages(token: Token) -> None:
    async with open_with_device(token) as engine:
        task = await wait_until_done(engine, await approve_signing(engine))
        assert task.result is not None
        client = engine.client(DEVELOPER)
        (token.workspace.parent / "firmware.bin").write_bytes(b"firmware")
        firmware = (await client.upload(token.workspace.parent / "firmware.bin"),)
        package = await client.create_package(PackageRequest(config=DEVICE, firmware=firmware, name="release"))
        await engine.client(OWNER).decide(package.id, Verdict.APPROVED)
        await wait_until_done(engine, package)
        assert token.logins == 1


async def test_local_keys_start_no_provider(token: Token) -> None:
    async with open_engine(token.workspace) as engine:
        await engine.wait_idle()
        assert engine.worker_pids
        assert find_provider() is None


async def test_tasks_survive_a_killed_provider(token: Token) -> None:
    async with open_with_device(token) as engine:
        tasks = [await approve_signing(engine, f"message {number}") for number in range(12)]
        for _ in range(3):
            await kill_provider(signal.SIGKILL)
        for task in tasks:
            final_task = await wait_until_done(engine, task)
            assert final_task.lease_losses == 0


async def kill_provider(number: signal.Signals) -> int:
    async with asyncio.timeout(TIMEOUT):
        while (pid := find_provider()) is None:
            await asyncio.sleep(0.01)
    if number is signal.SIGSTOP:
        suspend(pid)
    else:
        os.kill(pid, number)
    return pid


async def test_tasks_wait_for_a_provider_that_hangs(token: Token) -> None:
    async with open_with_device(token) as engine:
        pid = await kill_provider(signal.SIGSTOP)
        task = await approve_signing(engine)
        waiting_task = await wait_for_task(
            engine, task, lambda task: task.reason_code == KeyProviderUnavailableError.code
        )
        assert waiting_task.status is TaskStatus.SCHEDULED
        assert "key provider seal does not answer" in waiting_task.reason
        await wait_until_done(engine, task)
        assert find_provider() != pid


async def test_tasks_wait_for_a_removed_token(token: Token) -> None:
    async with open_with_device(token) as engine:
        token.set_unavailable(True)
        task = await approve_signing(engine)
        waiting_task = await wait_for_task(engine, task, lambda task: bool(task.reason))
        assert f"Waiting for a key provider: The token in {token.folder} is unavailable." in waiting_task.reason
        token.set_unavailable(False)
        assert (await wait_until_done(engine, task)).reason == ""


async def test_workers_die_without_the_provider(token: Token) -> None:
    async with open_with_device(token) as engine:
        pid = find_provider()
        (worker,) = engine.worker_pids
        os.kill(worker, signal.SIGKILL)
        await wait_until_done(engine, await approve_signing(engine))
        assert find_provider() == pid
        assert token.logins == 1


async def test_provider_ends_with_the_engine(token: Token) -> None:
    async with open_with_device(token):
        pid = await kill_provider(signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_provider_ends_with_a_killed_key_holder(token: Token) -> None:
    async with open_with_device(token):
        pid = await kill_provider(signal.SIGSTOP)
        key_holder = find_key_holder(os.getpid())
        assert key_holder is not None
        os.kill(key_holder, signal.SIGKILL)
        assert not await asyncio.to_thread(wait_for_exit, {pid}, TIMEOUT)


async def test_wrong_pin_is_tried_once(token: Token) -> None:
    (token.folder / "pin").write_text("another PIN")
    async with open_engine(token.workspace) as engine:
        for _ in range(2):
            with pytest.raises(KeyProviderError, match="PIN of seal is wrong"):
                await register(engine)
        (worker,) = engine.worker_pids
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(KeyProviderError, match="PIN of seal is wrong"):
            await register(engine)
        (status,) = await engine.run(engine.engine.external_keys.probe_providers())
        assert status.error is not None
        assert (status.section, status.error.hint) == ("seal", "Correct it.")
        assert token.logins == 1
        assert not [key for key in await engine.client(ADMIN).keys() if key.uri.startswith("files:")]
    assert not list((token.workspace / "keys").glob("registered/*.json"))


async def test_missing_section_names_settings_file(token: Token) -> None:
    async with open_engine(token.workspace) as engine:
        with pytest.raises(
            KeyProviderError, match=r"No section of the worker settings serves the key pkcs11:token=a;object=b"
        ):
            await register(engine, "pkcs11:object=b;token=a")
        with pytest.raises(NotFoundError, match=r"no section keys\.other"):
            await engine.run(engine.engine.external_keys.list_keys(ADMIN, "other"))


async def test_invalid_settings_leave_the_local_keys_usable(token: Token) -> None:
    (token.workspace / "worker.toml").write_text("[keys")
    async with open_engine(token.workspace) as engine:
        await engine.client(ADMIN).rotate_key("local:door-signing")
        for call in (register(engine), engine.run(engine.engine.external_keys.list_keys(ADMIN))):
            with pytest.raises(KeyProviderError, match=r"worker\.toml is not valid TOML"):
                await call
        (status,) = await engine.run(engine.engine.external_keys.probe_providers())
        assert status.section == ""
        assert status.error is not None


async def test_settings_outside_the_workspace_are_used(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    path = token.workspace.parent / "worker.toml"
    (token.workspace / "worker.toml").rename(path)
    monkeypatch.setenv("SEALYARD_WORKER_SETTINGS", str(path))
    async with open_engine(token.workspace) as engine:
        assert (await register(engine)).uri == "files:signs"


async def test_keys_of_the_token_are_listed(token: Token) -> None:
    async with open_engine(token.workspace) as engine:
        (section,) = await engine.run(engine.engine.external_keys.list_keys(ADMIN))
        assert (section.section, section.scheme, section.error) == ("seal", "files", None)
        assert {(key.name, key.kind) for key in section.keys} == {
            ("signs", KeyType.ED25519),
            ("wraps", KeyType.AES_256),
        }


async def test_alias_is_registered_by_its_canonical_name(token: Token) -> None:
    async with open_engine(token.workspace) as engine:
        key = await register(engine, "files:alias/signs")
        assert key.uri == "files:signs"
        entries = await engine.client(ADMIN).audit(AuditFilter(resource="KEY:files:signs"))
        assert [entry.change for entry in entries.entries] == [AuditAction.CREATED]


async def test_token_key_wraps_device_key(token: Token) -> None:
    async with open_engine(token.workspace) as engine:
        await register(engine, "files:wraps", KeyType.AES_256)
        command = GenerateKey(
            uri="local:device",
            kind=KeyType.AES_256,
            purpose=KeyPurpose.BOTH,
            subject="",
            created_by=ADMIN,
            wrapping_key="files:wraps",
        )
        key = (await request(engine, command)).key
        assert key is not None
        assert key.current.wrapped_by == WrappingKey(uri="files:wraps", version=1)
        probe = ProbeEncryptionKey(
            key=EncryptionKey(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, uri="local:device", version=1)
        )
        await request(engine, probe)
        token.set_unavailable(True)
        with pytest.raises(KeyProviderUnavailableError, match="token in"):
            await request(engine, probe)
