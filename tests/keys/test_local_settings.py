"""Tests of the local key provider: probe, registered certificates and the wrapping key."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealyard.keys.local import LocalKeyProvider
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import KeyStoreCorruptedError
from tests.keys.provider_contract import AES_KEY, PACKAGE, import_file
from tests.support.key_files import private_key, write_certificate, write_pem

MASTER_KEY = bytes(range(32))


@pytest.fixture
def keys(tmp_path: Path) -> LocalKeyProvider:
    return LocalKeyProvider(tmp_path / "keys", MASTER_KEY)


def test_probe_notices_missing_folder(keys: LocalKeyProvider, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "keys")
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(keys.probe())


def test_registered_certificate_becomes_a_version(keys: LocalKeyProvider, tmp_path: Path) -> None:
    async def scenario() -> None:
        key = private_key(KeyType.ED25519)
        await import_file(keys, write_pem(tmp_path / "key", key), KeyType.ED25519)
        certificate = write_certificate(tmp_path / "crt", key).read_bytes()
        info = await keys.register("imported-key", KeyType.ED25519, PACKAGE, certificate)
        assert (info.current.version, info.current.origin) == (2, "renewed")
        assert info == await keys.get_info("imported-key")

    asyncio.run(scenario())


def test_wrapping_key_differs_from_content_key(keys: LocalKeyProvider, tmp_path: Path) -> None:
    (tmp_path / "aes").write_bytes(AES_KEY)
    asyncio.run(import_file(keys, tmp_path / "aes", KeyType.AES_256))
    wrapped = asyncio.run(keys.wrap("imported-key", 1, b"secret", b""))
    with pytest.raises(InvalidTag):
        AESGCM(AES_KEY).decrypt(wrapped[1:13], wrapped[13:], b"")
