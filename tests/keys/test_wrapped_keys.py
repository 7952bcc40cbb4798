"""Tests of local keys that are wrapped with a key in a token or key service."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sealyard.crypto.ciphers import AesCipher
from sealyard.keys.key_records import KeyRecords
from sealyard.keys.local import LocalKeyProvider
from sealyard.keys.registered import RegisteredKeyProvider
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType
from sealyard.model.errors import InvalidKeyError, KeyProviderUnavailableError, KeyStoreCorruptedError, NotFoundError
from sealyard.model.keys import WrappingKey
from tests.keys.cipher_contract import run_stream
from tests.support.memory_backend import MemoryBackend

MASTER_KEY = b"a canary among keys".ljust(32, b".")
AES_KEY = b"a canary among device keys".ljust(32, b".")
CBC = EncryptionAlgorithm.AES256_CBC_PKCS7_PAD
PACKAGE = KeyPurpose.PACKAGE
WRAPPING_KEY = "vault:wraps"


class Wrapper:
    """Wraps with the registered keys of a backend in memory."""

    def __init__(self, folder: Path) -> None:
        self.backend = MemoryBackend()
        self.provider = RegisteredKeyProvider("vault", self.backend, KeyRecords(folder, MASTER_KEY))

    async def wrap(self, uri: str, secret: bytes, associated_data: bytes) -> tuple[WrappingKey, bytes]:
        name = uri.removeprefix("vault:")
        version = (await self.provider.get_info(name)).current.version
        wrapped = await self.provider.wrap(name, version, secret, associated_data)
        return WrappingKey(uri=uri, version=version), wrapped

    async def unwrap(self, key: WrappingKey, wrapped: bytes, associated_data: bytes) -> bytes:
        return await self.provider.unwrap(key.uri.removeprefix("vault:"), key.version, wrapped, associated_data)


@pytest.fixture
def wrapper(tmp_path: Path) -> Wrapper:
    wrapper = Wrapper(tmp_path / "records")
    asyncio.run(wrapper.provider.generate("wraps", KeyType.AES_256, PACKAGE, ""))
    return wrapper


@pytest.fixture
def keys(wrapper: Wrapper, tmp_path: Path) -> LocalKeyProvider:
    return LocalKeyProvider(tmp_path / "keys", MASTER_KEY, wrapper)


def test_wrapped_key_encrypts_like_the_key(keys: LocalKeyProvider, wrapper: Wrapper) -> None:
    async def scenario() -> None:
        info = await keys.import_key("device", AES_KEY, KeyType.AES_256, PACKAGE, None, None, WRAPPING_KEY)
        assert info.current.wrapped_by == WrappingKey(uri=WRAPPING_KEY, version=1)
        plain = bytes(1000)
        expected = run_stream(AesCipher(CBC, AES_KEY).encryptor(bytes(16)), plain, 4096)
        assert run_stream((await keys.cipher("device", 1, CBC)).encryptor(bytes(16)), plain, 4096) == expected
        assert await keys.export_symmetric("device", 1) == AES_KEY
        wrapper.backend.is_available = False
        with pytest.raises(KeyProviderUnavailableError):
            await keys.cipher("device", 1, CBC)

    asyncio.run(scenario())


def test_rotation_uses_current_wrapping_key(keys: LocalKeyProvider, wrapper: Wrapper) -> None:
    async def scenario() -> None:
        await keys.generate("device", KeyType.AES_128, PACKAGE, "", WRAPPING_KEY)
        await wrapper.provider.rotate("wraps")
        version = await keys.rotate("device")
        assert (version.version, version.wrapped_by) == (2, WrappingKey(uri=WRAPPING_KEY, version=2))
        assert await keys.export_symmetric("device", 1) != await keys.export_symmetric("device", 2)

    asyncio.run(scenario())


def test_signing_key_cannot_be_wrapped(keys: LocalKeyProvider) -> None:
    async def scenario() -> None:
        with pytest.raises(InvalidKeyError, match="signing key"):
            await keys.generate("signs", KeyType.ED25519, PACKAGE, "name", WRAPPING_KEY)
        with pytest.raises(NotFoundError):
            await keys.get_info("signs")

    asyncio.run(scenario())


def test_failed_wrapping_creates_no_key(keys: LocalKeyProvider, wrapper: Wrapper) -> None:
    async def scenario() -> None:
        with pytest.raises(NotFoundError):
            await keys.generate("device", KeyType.AES_256, PACKAGE, "", "vault:unknown")
        wrapper.backend.is_available = False
        with pytest.raises(KeyProviderUnavailableError):
            await keys.generate("device", KeyType.AES_256, PACKAGE, "", WRAPPING_KEY)
        with pytest.raises(NotFoundError):
            await keys.get_info("device")

    asyncio.run(scenario())


def test_wrapped_key_without_wrapper_is_unusable(keys: LocalKeyProvider, tmp_path: Path) -> None:
    async def scenario() -> None:
        await keys.generate("device", KeyType.AES_256, PACKAGE, "", WRAPPING_KEY)
        with pytest.raises(InvalidKeyError, match="needs a key in a token"):
            await LocalKeyProvider(tmp_path / "keys", MASTER_KEY).cipher("device", 1, CBC)

    asyncio.run(scenario())


def test_exchanged_wrapping_key_is_detected(keys: LocalKeyProvider, tmp_path: Path) -> None:
    async def scenario() -> None:
        await keys.generate("device", KeyType.AES_256, PACKAGE, "", WRAPPING_KEY)
        path = tmp_path / "keys" / "device" / "key.json"
        path.write_bytes(path.read_bytes().replace(b"vault:wraps", b"vault:other"))
        with pytest.raises(KeyStoreCorruptedError):
            await keys.cipher("device", 1, CBC)

    asyncio.run(scenario())


def test_replaced_device_key_is_rejected(
    keys: LocalKeyProvider, wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unwrap(*_: object) -> bytes:
        return bytes(32)

    async def scenario() -> None:
        await keys.import_key("device", AES_KEY, KeyType.AES_256, PACKAGE, None, None, WRAPPING_KEY)
        monkeypatch.setattr(wrapper.backend, "unwrap", unwrap)
        with pytest.raises(InvalidKeyError, match="vault:wraps returned another key than local:device version 1"):
            await keys.cipher("device", 1, CBC)

    asyncio.run(scenario())
