"""Test packages whose signing keys are in a token of SoftHSM: OpenSSL opens them, and they survive a lost token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.crypto.algorithms import SIGNATURES
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.device_configs import EncryptionKey
from sealyard.model.errors import KeyProviderError, KeyProviderUnavailableError, SealyardError
from sealyard.model.key_commands import GenerateKey, ProbeEncryptionKey
from sealyard.model.requests import (
    DeviceRequest,
    EncryptionKeyRequest,
    KeyRegistration,
    PackageRequest,
    SigningKeyRequest,
)
from sealyard.model.tasks import Task, TaskStatus, Verdict
from tests.interop.test_openssl_opens_se1 import FIRMWARE, check_signature, decrypt, openssl, split_container
from tests.support.extent import IS_FULL
from tests.support.factories.containers import SE1_SIGNATURES
from tests.support.limits import TIMEOUT
from tests.support.p11_kit import TokenServer, server_socket, token_server
from tests.support.softhsm import PIN, TOKEN, SoftHsm, own_softhsm
from tests.support.workspace_copies import copy_workspace, create_template
from tests.support.workspace_files import (
    ADMIN,
    DEVELOPER,
    OWNER,
    create_workspace_with_device,
    open_engine,
    wait_for_task,
)

__all__ = ["own_softhsm", "server_socket", "token_server"]

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

DEVICE = "gateway"
SETTINGS = """
[keys.seal]
provider = "pkcs11"
module = "{module}"
token = "{token}"
paths = {paths}
environment = {{ {environment} }}
unix_sockets = true
secrets.pin = {{ file = "{pin}" }}
"""
TOOL_KINDS = {
    KeyType.RSA_2048: "rsa:2048",
    KeyType.RSA_3072: "rsa:3072",
    KeyType.RSA_4096: "rsa:4096",
    KeyType.EC_P256: "EC:prime256v1",
    KeyType.ED25519: "EC:edwards25519",
}
ROWS = [row for row in SE1_SIGNATURES if IS_FULL or row[1] in (KeyType.RSA_3072, KeyType.EC_P256, KeyType.ED25519)]
if not IS_FULL:
    ROWS = list({(SIGNATURES[algorithm].scheme, kind): (algorithm, kind) for algorithm, kind in ROWS}.values())


class TokenWorkspace:
    """A workspace in ``folder`` with a section of ``worker.toml`` for the token."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "workspace"

    def set_up(self, module: str, paths: list[str], environment: dict[str, str]) -> None:
        pin_file = self.folder / "pin"
        pin_file.write_text(PIN)
        pin_file.chmod(0o600)
        variables = ", ".join(f'{name} = "{value}"' for name, value in environment.items())
        text = SETTINGS.format(module=module, token=TOKEN, paths=paths, environment=variables, pin=pin_file)
        (self.path / "worker.toml").write_text(text)


@pytest.fixture(scope="session")
def device_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_template(tmp_path_factory, create_workspace_with_device)


@pytest.fixture
def workspace(
    own_softhsm: SoftHsm,
    device_template: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> TokenWorkspace:
    monkeypatch.delenv("SEALYARD_WORKER_SETTINGS", raising=False)
    workspace = TokenWorkspace(tmp_path_factory.mktemp("factory"))
    copy_workspace(device_template, workspace.path)
    workspace.set_up(own_softhsm.module, [str(own_softhsm.folder)], own_softhsm.environment)
    return workspace


@asynccontextmanager
async def open_with_device(
    workspace: TokenWorkspace, hsm: SoftHsm, algorithm: SigningAlgorithm, kind: KeyType
) -> AsyncIterator[EngineHandle]:
    """Open the engine of a workspace with a device whose signing key ``pkcs11-tool`` generated in the token."""
    key = ["--key-type", TOOL_KINDS[kind], "--label", "gateway-sign", "--id", "01"]
    hsm.run_tool("--keypairgen", *key)
    async with open_engine(workspace.path) as engine:
        uri = f"pkcs11:token={TOKEN};object=gateway-sign"
        request = KeyRegistration(uri=uri, kind=kind)
        await engine.run(engine.engine.execute(ADMIN, "KEY", engine.engine.external_keys.register(ADMIN, request)))
        await engine.client(ADMIN).create_device(
            DeviceRequest(
                name=DEVICE,
                encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
                signing_keys=(SigningKeyRequest(algorithm=algorithm, uri=uri),),
                use=(DEVELOPER,),
                approve=(OWNER,),
            )
        )
        yield engine


async def approve_package(engine: EngineHandle, folder: Path) -> Task:
    developer = engine.client(DEVELOPER)
    files = []
    for number, content in enumerate(FIRMWARE):
        path = folder / f"firmware-{number}"
        path.write_bytes(content)
        files.append(await developer.upload(path))
    request = PackageRequest(config=DEVICE, firmware=tuple(files), name="release")
    task = await developer.create_package(request)
    return await engine.client(OWNER).decide(task.id, Verdict.APPROVED)


async def open_package(engine: EngineHandle, task: Task, folder: Path) -> None:
    """Verify and decrypt the package with OpenSSL, by the certificate and the AES key of the device."""
    done_task = await wait_for_task(engine, task, lambda task: task.status is TaskStatus.DONE)
    client = engine.client(DEVELOPER)
    chunks = [chunk async for chunk in client.download(done_task.id)]
    (folder / "container").write_bytes(b"".join(chunks))
    keys = {key.uri: key for key in await engine.client(ADMIN).keys()}
    certificate = keys[f"pkcs11:token={TOKEN};object=gateway-sign"].current.certificate
    assert certificate is not None
    (folder / "certificate.pem").write_text(certificate)
    device_key = await engine.client(ADMIN).read_device_key(DEVICE, confirmed=True)
    cipher, signature, _ = split_container(folder / "container")
    check_signature(folder, signature)
    openssl(folder, "verify", "-x509_strict", "-partial_chain", "-trusted", "certificate.pem", "certificate.pem")
    for index, content in enumerate(FIRMWARE):
        assert decrypt(folder, index, cipher, device_key.content) == content


@pytest.mark.parametrize(("algorithm", "kind"), ROWS)
async def test_openssl_opens_package_signed_in_token(
    workspace: TokenWorkspace, own_softhsm: SoftHsm, algorithm: SigningAlgorithm, kind: KeyType
) -> None:
    async with open_with_device(workspace, own_softhsm, algorithm, kind) as engine:
        await open_package(engine, await approve_package(engine, workspace.folder), workspace.folder)


async def test_package_waits_for_removed_token(workspace: TokenWorkspace, own_softhsm: SoftHsm) -> None:
    async with open_with_device(workspace, own_softhsm, SigningAlgorithm.ED25519, KeyType.ED25519) as engine:
        removed = own_softhsm.tokens.with_name("removed")
        own_softhsm.tokens.rename(removed)
        own_softhsm.tokens.mkdir()
        task = await approve_package(engine, workspace.folder)
        waiting_task = await wait_for_task(
            engine, task, lambda task: task.reason_code == KeyProviderUnavailableError.code
        )
        assert "The token seal is not present" in waiting_task.reason
        own_softhsm.tokens.rmdir()
        removed.rename(own_softhsm.tokens)
        await open_package(engine, task, workspace.folder)


@pytest.fixture
def served_workspace(workspace: TokenWorkspace, token_server: TokenServer) -> TokenWorkspace:
    """The workspace with the token behind ``p11-kit server``."""
    workspace.set_up(token_server.module, [str(token_server.socket.parent)], token_server.environment)
    return workspace


async def test_package_waits_for_killed_token_server(
    served_workspace: TokenWorkspace, own_softhsm: SoftHsm, token_server: TokenServer
) -> None:
    async with open_with_device(
        served_workspace, own_softhsm, SigningAlgorithm.ECC_NIST_P256, KeyType.EC_P256
    ) as engine:
        token_server.kill()
        task = await approve_package(engine, served_workspace.folder)
        waiting_task = await wait_for_task(
            engine, task, lambda task: task.reason_code == KeyProviderUnavailableError.code
        )
        assert "token seal" in waiting_task.reason
        assert waiting_task.status is TaskStatus.SCHEDULED
        token_server.start()
        await open_package(engine, task, served_workspace.folder)


async def test_changed_pin_fails_package_with_its_reason(
    served_workspace: TokenWorkspace, own_softhsm: SoftHsm, token_server: TokenServer
) -> None:
    async with open_with_device(
        served_workspace, own_softhsm, SigningAlgorithm.ECC_NIST_P256, KeyType.EC_P256
    ) as engine:
        own_softhsm.run_tool("--change-pin", "--new-pin", "another PIN")
        token_server.kill()
        token_server.start()
        task = await approve_package(engine, served_workspace.folder)
        async with asyncio.timeout(TIMEOUT):
            while not (current := await engine.client(DEVELOPER).task(task.id)).status.is_final:
                await asyncio.sleep(0.02)
        assert current.status is TaskStatus.FAILED
        assert "The token seal refused the PIN" in current.reason
        assert PIN not in current.reason


async def test_key_of_other_tool_wraps_device_key(workspace: TokenWorkspace, own_softhsm: SoftHsm) -> None:
    own_softhsm.run_tool("--keygen", "--key-type", "AES:32", "--label", "wraps", "--id", "02", "--usage-decrypt")
    uri = f"pkcs11:token={TOKEN};object=wraps"
    async with open_engine(workspace.path) as engine:
        request = KeyRegistration(uri=uri, kind=KeyType.AES_256)
        await engine.run(engine.engine.execute(ADMIN, "KEY", engine.engine.external_keys.register(ADMIN, request)))
        command = GenerateKey(
            uri="local:device",
            kind=KeyType.AES_256,
            purpose=KeyPurpose.BOTH,
            subject="",
            created_by=ADMIN,
            wrapping_key=uri,
        )
        await engine.run(engine.engine.bus.request(command))
        key = EncryptionKey(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, uri="local:device", version=1)
        await engine.run(engine.engine.bus.request(ProbeEncryptionKey(key=key)))
        own_softhsm.run_tool("--delete-object", "--type", "secrkey", "--label", "wraps")
        with pytest.raises(SealyardError, match="object=wraps"):
            await engine.run(engine.engine.bus.request(ProbeEncryptionKey(key=key)))


async def test_wrong_pin_refuses_registration(workspace: TokenWorkspace, own_softhsm: SoftHsm) -> None:
    (workspace.folder / "pin").write_text("another PIN")
    async with open_engine(workspace.path) as engine:
        (section,) = await engine.run(engine.engine.external_keys.list_keys(ADMIN))
        assert section.error is not None
        assert "The token seal refused the PIN" in section.error.message
        request = KeyRegistration(uri=f"pkcs11:token={TOKEN};object=gateway-sign", kind=KeyType.EC_P256)
        with pytest.raises(KeyProviderError, match="refused the PIN"):
            await engine.run(engine.engine.execute(ADMIN, "KEY", engine.engine.external_keys.register(ADMIN, request)))
        assert "pkcs11" not in str(await engine.client(ADMIN).keys())
