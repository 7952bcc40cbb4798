"""Tests of the key provider contract with a provider that keeps its keys in another process."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.keys.material import to_bytes
from sealyard.keys.provider import KeyProvider
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from tests.keys.capability_contract import CapabilityContract
from tests.keys.cipher_contract import CipherContract
from tests.keys.provider_contract import AES_KEY, PACKAGE, ProviderContract
from tests.support.key_files import private_key, write_pem
from tests.support.remote_key_provider import RemoteKeys


@pytest.fixture
def remote() -> Iterator[RemoteKeys]:
    keys = RemoteKeys()
    yield keys
    asyncio.run(keys.close())


@pytest.fixture
def provider(remote: RemoteKeys) -> KeyProvider:
    return remote


class TestRemoteKeys(ProviderContract, CapabilityContract, CipherContract):
    pass


def test_pipe_carries_no_key_bytes(remote: RemoteKeys, tmp_path: Path) -> None:
    async def scenario() -> None:
        key = private_key(KeyType.ED25519)
        await remote.import_key(
            "signs", write_pem(tmp_path / "key", key).read_bytes(), KeyType.ED25519, PACKAGE, None, None
        )
        (tmp_path / "aes").write_bytes(AES_KEY)
        await remote.import_key("encrypts", (tmp_path / "aes").read_bytes(), KeyType.AES_256, PACKAGE, None, None)
        await (await remote.signer("signs", 1, SigningAlgorithm.ED25519)).sign(b"message")
        cipher = await remote.cipher("encrypts", 1, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
        cipher.encryptor(bytes(16)).finalize()

    asyncio.run(scenario())
    received = "".join(remote.received)
    for secret in (AES_KEY, to_bytes(private_key(KeyType.ED25519))[-32:]):
        assert secret.hex() not in received
        assert base64.b64encode(secret).decode()[:40] not in received
