"""Test configurations whose keys are generated in a real token or key service, or wrapped by its keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.keys import WrappingKey
from sealyard.model.requests import (
    DeviceRequest,
    EncryptionKeyRequest,
    KeyGeneration,
    SigningKeyRequest,
    SigningRequest,
)
from sealyard.model.tasks import TaskStatus, Verdict
from tests.interop.test_key_services import Service, opened_workspace, service
from tests.interop.test_token_signs_packages import TokenWorkspace, device_template, own_softhsm, workspace
from tests.support.limits import TIMEOUT
from tests.support.softhsm import TOKEN
from tests.support.workspace_files import ADMIN, DEVELOPER, OWNER, open_engine

__all__ = ["device_template", "own_softhsm", "service", "workspace"]

pytestmark = [pytest.mark.anyio, pytest.mark.interop]


async def use_provider(engine: EngineHandle, section: str, prefix: str) -> str:
    """Create a configuration with keys of the provider, sign with it, and return the URI of its signing key."""
    admin = engine.client(ADMIN)
    (status,) = await admin.key_providers()
    assert (status.section, status.error, status.key_prefix) == (section, None, prefix)
    wrapping_key = await admin.generate_key(KeyGeneration(uri=f"{prefix}wrap", kind=KeyType.AES_256))
    device = await admin.create_device(
        DeviceRequest(
            name="chosen",
            encryption_keys=(
                EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, wrapping_key=wrapping_key.uri),
            ),
            signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ECC_NIST_P256, provider=section),),
            use=(DEVELOPER,),
            approve=(OWNER,),
        )
    )
    (provider,) = await admin.provider_keys(section)
    assert {f"{provider.scheme}:{key.name}" for key in provider.keys if key.is_registered} == {
        wrapping_key.uri,
        device.signing.uri,
    }
    keys = {key.uri: key for key in await admin.keys()}
    assert keys[device.encryption.uri].current.wrapped_by == WrappingKey(uri=wrapping_key.uri, version=1)
    task = await engine.client(DEVELOPER).create_signing(SigningRequest(config="chosen", message=b"message"))
    await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
    assert (await engine.client(DEVELOPER).wait(task.id, within=TIMEOUT)).status is TaskStatus.DONE
    rotated = await admin.rotate_key(device.signing.uri)
    assert (rotated.current.version, rotated.current.origin) == (2, "generated")
    return device.signing.uri


async def test_configuration_uses_a_key_service(service: Service, tmp_path: Path) -> None:
    async with opened_workspace(service, tmp_path / "workspace") as engine:
        uri = await use_provider(engine, service.settings.name, service.uri_prefix)
    assert uri.startswith(service.uri_prefix if service.settings.provider == "vault" else "awskms:arn:aws:kms:")


async def test_configuration_uses_a_token(workspace: TokenWorkspace) -> None:
    async with open_engine(workspace.path) as engine:
        uri = await use_provider(engine, "seal", f"pkcs11:token={TOKEN};object=")
    assert uri == f"pkcs11:token={TOKEN};object=chosen-signing"
