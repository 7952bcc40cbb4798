"""Test keys in tokens and key services with both clients: in this process and over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    KeyProviderError,
    KeyProviderUnavailableError,
    NotFoundError,
    PermissionDeniedError,
)
from sealyard.model.keys import WrappingKey
from sealyard.model.requests import (
    DeviceRequest,
    EncryptionKeyRequest,
    KeyGeneration,
    KeyImport,
    KeyRegistration,
    SigningKeyRequest,
)
from tests.support.client_kinds import DEV, OWNER, ClientHarness, ContractSubjects
from tests.support.provider_process import BACKEND_PYTHONPATH, set_up_file_provider


@pytest.fixture
def token(harness: ClientHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", BACKEND_PYTHONPATH)
    monkeypatch.delenv("SEALYARD_WORKER_SETTINGS", raising=False)
    set_up_file_provider(tmp_path / "workspace", tmp_path / "token")
    return tmp_path / "token"


def test_providers_and_their_keys_are_listed(harness: ClientHarness, token: Path) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        (status,) = await admin.key_providers()
        assert (status.section, status.scheme, status.error) == ("seal", "files", None)
        await admin.register_key(KeyRegistration(uri="files:signs"))
        (provider,) = await admin.provider_keys("seal")
        assert {(key.name, key.kind, key.is_registered) for key in provider.keys} == {
            ("signs", KeyType.ED25519, True),
            ("wraps", KeyType.AES_256, False),
        }
        with pytest.raises(NotFoundError):
            await admin.provider_keys("other")
        (token / "unavailable").touch()
        for state in (*await admin.key_providers(), *await admin.provider_keys()):
            assert state.error is not None
            assert (state.error.code, state.error.hint) == (KeyProviderUnavailableError.code, "Insert it.")
        for call in (dev.key_providers(), dev.provider_keys(), dev.register_key(KeyRegistration(uri="files:wraps"))):
            with pytest.raises(PermissionDeniedError):
                await call

    harness.run(test)


def test_keys_are_registered_generated_and_wrapped(harness: ClientHarness, token: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(range(32)))

    async def test(subjects: ContractSubjects) -> None:
        admin, _, _ = await subjects.all_clients()
        registration = KeyRegistration(uri="files:signs", purpose=KeyPurpose.PACKAGE)
        with pytest.raises(InvalidKeyError, match="is a key of type ED25519"):
            await admin.register_key(KeyRegistration(uri="files:signs", kind=KeyType.EC_P256))
        key = await admin.register_key(registration)
        assert (key.kind, key.purpose, key.current.origin) == (KeyType.ED25519, KeyPurpose.PACKAGE, "registered")
        with pytest.raises(AlreadyExistsError):
            await admin.register_key(registration)
        with pytest.raises(KeyProviderError, match="worker settings"):
            await admin.register_key(KeyRegistration(uri="vault:transit/x"))
        generated = await admin.generate_key(KeyGeneration(uri="files:made", kind=KeyType.EC_P256))
        assert (generated.uri, generated.current.origin) == ("files:made", "generated")
        await admin.register_key(KeyRegistration(uri="files:wraps"))
        imported = await admin.import_key(
            KeyImport(uri="local:bought", path=str(raw), kind=KeyType.AES_256, wrapping_key="files:wraps")
        )
        assert imported.current.wrapped_by == WrappingKey(uri="files:wraps", version=1)
        assert {generated, key, imported} <= set(await admin.keys())

    harness.run(test)


def test_configuration_registers_and_wraps_keys(harness: ClientHarness, token: Path) -> None:
    request = DeviceRequest(
        name="door",
        encryption_keys=(
            EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, wrapping_key="files:wraps"),
        ),
        signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519, uri="files:signs"),),
        use=(DEV,),
        approve=(OWNER,),
    )

    async def test(subjects: ContractSubjects) -> None:
        admin, _, _ = await subjects.all_clients()
        await admin.key_providers()  # a process that cannot open the token would be started again only after a pause
        (token / "unavailable").touch()
        keys = await admin.keys()
        with pytest.raises(KeyProviderUnavailableError):
            await admin.create_device(request)
        assert await admin.keys() == keys
        (token / "unavailable").unlink()
        device = await admin.create_device(request)
        assert device.signing.uri == "files:signs"
        (key,) = [key for key in await admin.keys() if key.uri == device.encryption.uri]
        assert key.current.wrapped_by == WrappingKey(uri="files:wraps", version=1)

    harness.run(test)
