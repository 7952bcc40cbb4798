"""The contract of key providers that encrypt content themselves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sealyard.crypto.algorithms import CIPHERS
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.protocols import CipherStream
from sealyard.keys.provider import KeyProvider
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType
from tests.keys.provider_contract import AES_KEY, PACKAGE, import_file


def run_stream(stream: CipherStream, data: bytes, chunk: int) -> bytes:
    """Process ``data`` with ``stream``, ``chunk`` bytes at a time."""
    out = bytearray(chunk + 16)
    result = b""
    for start in range(0, len(data), chunk):
        part = data[start : start + chunk]
        result += bytes(out[: stream.update_into(memoryview(part), memoryview(out))])
    return result + stream.finalize()


class CipherContract:
    """Run for each provider that encrypts content by a subclass named ``Test…``."""

    @pytest.mark.parametrize("algorithm", EncryptionAlgorithm)
    def test_cipher_output_equals_aes(
        self, provider: KeyProvider, algorithm: EncryptionAlgorithm, tmp_path: Path
    ) -> None:
        async def scenario() -> None:
            spec = CIPHERS[algorithm]
            key = AES_KEY if spec.key_kind is KeyType.AES_256 else AES_KEY[:16]
            (tmp_path / "aes").write_bytes(key)
            await import_file(provider, tmp_path / "aes", spec.key_kind)
            cipher = await provider.cipher("imported-key", 1, algorithm)
            iv, plain = bytes(range(spec.iv_length)), bytes(range(256)) + b"rest"
            expected = run_stream(AesCipher(algorithm, key).encryptor(iv), plain, 4096)
            for chunk in (7, 16, 100, 4096):
                assert run_stream(cipher.encryptor(iv), plain, chunk) == expected
                assert run_stream(cipher.decryptor(iv), expected, chunk)[: len(plain)] == plain

        asyncio.run(scenario())

    def test_streams_of_one_cipher_are_independent(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            await provider.generate("generated-key", KeyType.AES_256, PACKAGE, "")
            cipher = await provider.cipher("generated-key", 1, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
            one, two = cipher.encryptor(bytes(16)), cipher.encryptor(bytes(16))
            out_one, out_two = bytearray(48), bytearray(48)
            for stream, out in ((one, out_one), (two, out_two)):
                assert stream.update_into(memoryview(bytes(32)), memoryview(out)) == 32
            assert (out_one, one.finalize()) == (out_two, two.finalize())

        asyncio.run(scenario())
