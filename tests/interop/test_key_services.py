"""Test an engine whose keys are in OpenBao or in an emulator of AWS KMS: other programs accept what it makes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mldsa

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.device_configs import EncryptionKey
from sealyard.model.errors import KeyProviderUnavailableError
from sealyard.model.key_commands import GenerateKey, ProbeEncryptionKey
from sealyard.model.keys import KeyInfo, WrappingKey
from sealyard.model.provider_settings import ProviderSettings, Secrets
from sealyard.model.requests import (
    DeviceRequest,
    EncryptionKeyRequest,
    KeyRegistration,
    PackageRequest,
    SigningKeyRequest,
    SigningRequest,
)
from sealyard.model.tasks import Task, TaskStatus, Verdict
from tests.interop.test_openssl_opens_se1 import check_signature, decrypt, split_container
from tests.support.ministack import ROOT, MiniStack, open_kms, run_ministack
from tests.support.openbao import MOUNT, OpenBao, open_vault, run_openbao
from tests.support.workspace_files import (
    ADMIN,
    DEVELOPER,
    OWNER,
    create_workspace_with_device,
    open_engine,
    wait_for_task,
)

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

DEVICE = "gateway"
FIRMWARE = bytes(range(256)) * 40
CIPHER = EncryptionAlgorithm.AES256_CBC_PKCS7_PAD
ALGORITHMS = {
    KeyType.RSA_3072: SigningAlgorithm.RSA_3072,
    KeyType.EC_P256: SigningAlgorithm.ECC_NIST_P256,
    KeyType.ED25519: SigningAlgorithm.ED25519,
}
ML_DSA = {
    KeyType.ML_DSA_44: SigningAlgorithm.ML_DSA_44,
    KeyType.ML_DSA_65: SigningAlgorithm.ML_DSA_65,
    KeyType.ML_DSA_87: SigningAlgorithm.ML_DSA_87,
}


class Service(NamedTuple):
    """A server of keys: how it is set up and stopped, and the names of its keys."""

    server: OpenBao | MiniStack
    settings: ProviderSettings
    secrets: Secrets
    uri_prefix: str

    def write_settings(self, workspace: Path) -> None:
        lines = [f"[keys.{self.settings.name}]", f'provider = "{self.settings.provider}"']
        lines += [f'{name} = "{value}"' for name, value in self.settings.options.items()]
        for name, value in self.secrets.values.items():
            path = workspace.parent / name
            path.write_bytes(value)
            path.chmod(0o600)
            lines.append(f'secrets.{name} = {{ file = "{path}" }}')
        (workspace / "worker.toml").write_text("\n".join(lines))

    async def generate(self, label: str, kind: KeyType) -> str:
        """Generate a key beside Sealyard, and return a URI for it."""
        opened = open_vault if self.settings.provider == "vault" else open_kms
        uri = f"{self.uri_prefix}{label}"
        async with opened(self.settings, self.secrets) as backend:
            await backend.generate(uri.partition(":")[2], kind)
        return uri

    async def save(self) -> None:
        """Make the keys durable. The emulator saves them only when it is stopped."""
        if isinstance(self.server, MiniStack):
            await asyncio.to_thread(self.server.stop)
            await asyncio.to_thread(self.server.start)


@pytest.fixture(params=["vault", "awskms"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    folder = tmp_path / "server"
    folder.mkdir()
    if request.param == "vault":
        with run_openbao(folder) as openbao:
            yield Service(openbao, *openbao.approle(), f"vault:{MOUNT}/")
    else:
        with run_ministack(folder) as ministack:
            yield Service(ministack, ministack.settings(), ROOT, "awskms:alias/")


@asynccontextmanager
async def opened_workspace(service: Service, workspace: Path) -> AsyncIterator[EngineHandle]:
    await create_workspace_with_device(workspace)
    service.write_settings(workspace)
    async with open_engine(workspace) as engine:
        yield engine


async def register_key(
    engine: EngineHandle, service: Service, label: str, kind: KeyType, purpose: KeyPurpose = KeyPurpose.BOTH
) -> KeyInfo:
    """Generate a key in the service, and register it."""
    request = KeyRegistration(uri=await service.generate(label, kind), kind=kind, purpose=purpose)
    return await engine.run(engine.engine.execute(ADMIN, "KEY", engine.engine.external_keys.register(ADMIN, request)))


async def create_device(
    engine: EngineHandle, service: Service, kind: KeyType, purpose: KeyPurpose = KeyPurpose.BOTH
) -> str:
    """Create a device configuration whose signing key is in the service; return the name of the configuration."""
    key = await register_key(engine, service, f"sign-{kind.lower().replace('_', '-')}", kind, purpose)
    request = DeviceRequest(
        name=f"{DEVICE}-{kind.lower().replace('_', '-')}",
        encryption_keys=(EncryptionKeyRequest(algorithm=CIPHER),),
        signing_keys=(SigningKeyRequest(algorithm=(ALGORITHMS | ML_DSA)[kind], uri=key.uri),),
        use=(DEVELOPER,),
        approve=(OWNER,),
    )
    return (await engine.client(ADMIN).create_device(request)).id


def is_done(task: Task) -> bool:
    return task.status is TaskStatus.DONE


async def test_package_is_opened_by_openssl(service: Service, tmp_path: Path) -> None:
    (tmp_path / "firmware.bin").write_bytes(FIRMWARE)
    async with opened_workspace(service, tmp_path / "workspace") as engine:
        client = engine.client(DEVELOPER)
        for kind in ALGORITHMS:
            device = await create_device(engine, service, kind)
            firmware = (await client.upload(tmp_path / "firmware.bin"),)
            package = await client.create_package(PackageRequest(config=device, firmware=firmware, name="release"))
            await engine.client(OWNER).decide(package.id, Verdict.APPROVED)
            await wait_for_task(engine, package, is_done)
            folder = tmp_path / kind
            folder.mkdir()
            async with contextlib.aclosing(client.download(package.id)) as chunks:
                (folder / "container").write_bytes(b"".join([chunk async for chunk in chunks]))
            (folder / "certificate.pem").write_text(await client.certificate(package.id))
            await engine.client(ADMIN).export_device_key(device, folder / "key", confirmed=True)
            cipher, signature, (digest,) = split_container(folder / "container", firmware_count=1)
            check_signature(folder, signature)
            assert hashlib.sha256((folder / "segment-0").read_bytes()).digest() == digest
            assert decrypt(folder, 0, cipher, (folder / "key").read_bytes()) == FIRMWARE


async def test_tasks_wait_for_a_killed_service(service: Service, tmp_path: Path) -> None:
    async with opened_workspace(service, tmp_path / "workspace") as engine:
        device = await create_device(engine, service, KeyType.EC_P256)
        await service.save()
        tasks = [await approve_signing(engine, device, number) for number in range(10)]
        await asyncio.to_thread(service.server.kill)
        late_task = await approve_signing(engine, device, 10)
        waiting_task = await wait_for_task(
            engine, late_task, lambda task: task.reason_code == KeyProviderUnavailableError.code
        )
        assert "is not reachable" in waiting_task.reason or "closed the connection" in waiting_task.reason
        await asyncio.to_thread(service.server.start)
        for task in (*tasks, late_task):
            final_task = await wait_for_task(engine, task, is_done)
            assert final_task.lease_losses == 0


@pytest.mark.parametrize("service", ["vault"], indirect=True)  # the emulator of AWS KMS has no ML-DSA keys
async def test_ml_dsa_signature_is_verified_by_cryptography(service: Service, tmp_path: Path) -> None:
    async with opened_workspace(service, tmp_path / "workspace") as engine:
        for kind in ML_DSA:
            device = await create_device(engine, service, kind, KeyPurpose.DATA)
            task = await approve_signing(engine, device, 1)
            result = (await wait_for_task(engine, task, is_done)).result
            assert result is not None
            assert result.signature is not None
            certificate = x509.load_pem_x509_certificate((await engine.client(DEVELOPER).certificate(task.id)).encode())
            public_key = certificate.public_key()
            assert isinstance(public_key, mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey)
            public_key.verify(base64.b64decode(result.signature), b"message 1")


async def test_device_key_is_wrapped_by_the_service(service: Service, tmp_path: Path) -> None:
    async with opened_workspace(service, tmp_path / "workspace") as engine:
        wrapping_key = await register_key(engine, service, "device-keys", KeyType.AES_256)
        await service.save()
        command = GenerateKey(
            uri="local:device",
            kind=KeyType.AES_256,
            purpose=KeyPurpose.BOTH,
            subject="",
            created_by=ADMIN,
            wrapping_key=wrapping_key.uri,
        )
        key = (await engine.run(engine.engine.bus.request(command))).key
        assert key is not None
        assert key.current.wrapped_by == WrappingKey(uri=wrapping_key.uri, version=1)
        probe = ProbeEncryptionKey(key=EncryptionKey(algorithm=CIPHER, uri="local:device", version=1))
        await engine.run(engine.engine.bus.request(probe))
        await asyncio.to_thread(service.server.kill)
        with pytest.raises(KeyProviderUnavailableError):
            await engine.run(engine.engine.bus.request(probe))
        await asyncio.to_thread(service.server.start)
        await engine.run(engine.engine.bus.request(probe))


async def approve_signing(engine: EngineHandle, device: str, number: int) -> Task:
    request = SigningRequest(config=device, message=b"message %d" % number, file_name="message", name=f"task {number}")
    task = await engine.client(DEVELOPER).create_signing(request)
    return await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
