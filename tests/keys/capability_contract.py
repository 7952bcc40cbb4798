"""The contract of key providers, second part: capabilities, finished digests, wrapped secrets and existing keys."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from pathlib import Path

import pytest

from sealyard.crypto.algorithms import SIGNATURES
from sealyard.crypto.signatures import verify
from sealyard.keys.provider import MAX_WRAPPED_SECRET_BYTES, KeyProvider
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidInputError, InvalidKeyError, NotFoundError
from tests.keys.provider_contract import AES_KEY, PACKAGE, SIGNING_KINDS, import_file
from tests.support.key_files import ALGORITHMS, private_key, write_pem


class CapabilityContract:
    """Run for each provider by a subclass named ``Test…``."""

    @pytest.mark.parametrize("kind", SIGNING_KINDS)
    def test_finished_digests_are_signed_as_reported(
        self, provider: KeyProvider, kind: KeyType, tmp_path: Path
    ) -> None:
        async def scenario() -> None:
            await import_file(provider, write_pem(tmp_path / "key.pem", private_key(kind)), kind)
            digests = (await provider.get_capabilities("imported-key")).digests
            for algorithm in ALGORITHMS[kind]:
                hash_name = SIGNATURES[algorithm].hash
                if hash_name is None or hash_name not in digests:
                    with pytest.raises(InvalidKeyError):
                        await provider.signer("imported-key", 1, algorithm, prehashed=True)
                    continue
                digest = hashlib.new(hash_name, b"message").digest()
                signature = await (await provider.signer("imported-key", 1, algorithm, prehashed=True)).sign(digest)
                assert verify(private_key(kind).public_key(), algorithm, digest, signature, prehashed=True)

        asyncio.run(scenario())

    @pytest.mark.parametrize("kind", KeyType)
    def test_capabilities_list_the_algorithms_of_the_key(self, provider: KeyProvider, kind: KeyType) -> None:
        async def scenario() -> None:
            await provider.generate("generated-key", kind, PACKAGE, "name")
            capabilities = await provider.get_capabilities("generated-key")
            assert set(capabilities.algorithms) <= {name for name, spec in SIGNATURES.items() if kind in spec.key_kinds}
            assert bool(capabilities.algorithms) is not kind.symmetric
            for algorithm in capabilities.algorithms:
                await provider.signer("generated-key", 1, algorithm)
            with pytest.raises(NotFoundError):
                await provider.get_capabilities("unknown")

        asyncio.run(scenario())

    def test_opened_provider_passes_its_probe(self, provider: KeyProvider) -> None:
        asyncio.run(provider.probe())

    def test_unwrap_returns_wrapped_secret(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            await provider.generate("wraps", KeyType.AES_256, PACKAGE, "")
            assert (await provider.get_capabilities("wraps")).can_wrap
            for length in (1, 32, MAX_WRAPPED_SECRET_BYTES):
                secret = secrets.token_bytes(length)
                wrapped = await provider.wrap("wraps", 1, secret, b"context")
                assert secret not in wrapped or length == 1
                assert await provider.unwrap("wraps", 1, wrapped, b"context") == secret
            assert await provider.wrap("wraps", 1, AES_KEY, b"") != await provider.wrap("wraps", 1, AES_KEY, b"")

        asyncio.run(scenario())

    def test_unwrap_rejects_changed_values(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            await provider.generate("wraps", KeyType.AES_256, PACKAGE, "")
            await provider.rotate("wraps")
            await provider.generate("other", KeyType.AES_256, PACKAGE, "")
            wrapped = await provider.wrap("wraps", 1, AES_KEY, b"context")
            changed = [
                wrapped[:position] + bytes([wrapped[position] ^ 1]) + wrapped[position + 1 :]
                for position in range(len(wrapped))
            ]
            for name, version, value, associated_data in (
                *(("wraps", 1, value, b"context") for value in changed),
                ("wraps", 1, wrapped[:-1], b"context"),
                ("wraps", 1, b"", b"context"),
                ("wraps", 1, wrapped, b""),
                ("wraps", 2, wrapped, b"context"),
                ("other", 1, wrapped, b"context"),
            ):
                with pytest.raises(InvalidKeyError):
                    await provider.unwrap(name, version, value, associated_data)

        asyncio.run(scenario())

    def test_wrap_rejects_unsuitable_keys_and_sizes(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            await provider.generate("wraps", KeyType.AES_256, PACKAGE, "")
            for size in (0, MAX_WRAPPED_SECRET_BYTES + 1):
                with pytest.raises(InvalidInputError):
                    await provider.wrap("wraps", 1, bytes(size), b"")
            await provider.generate("signs", KeyType.ED25519, PACKAGE, "name")
            assert not (await provider.get_capabilities("signs")).can_wrap
            with pytest.raises(InvalidKeyError):
                await provider.wrap("signs", 1, AES_KEY, b"")
            with pytest.raises(NotFoundError):
                await provider.wrap("wraps", 2, AES_KEY, b"")
            with pytest.raises(NotFoundError):
                await provider.unwrap("unknown", 1, AES_KEY, b"")

        asyncio.run(scenario())

    def test_register_returns_key_or_explains_refusal(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            info = await provider.generate("generated-key", KeyType.ED25519, PACKAGE, "name")
            try:
                registered = await provider.register("generated-key", KeyType.ED25519, PACKAGE, None)
            except InvalidKeyError:
                registered = info
            assert registered == info
            with pytest.raises(InvalidKeyError):
                await provider.register("generated-key", KeyType.EC_P256, PACKAGE, None)
            with pytest.raises(NotFoundError):
                await provider.register("unknown", KeyType.ED25519, PACKAGE, None)

        asyncio.run(scenario())
