"""The contract of key backends. A test module defines a subclass named ``Test…`` with the attributes below."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sealyard.crypto.algorithms import SIGNATURES, SigningInput
from sealyard.crypto.signatures import key_type_of, verify
from sealyard.keys.backend import KeyBackend
from sealyard.keys.provider import MAX_WRAPPED_SECRET_BYTES
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey
from sealyard.model.errors import AlreadyExistsError, InvalidInputError, InvalidKeyError, NotFoundError
from tests.support.extent import IS_FULL

SECRET = b"a canary among device keys".ljust(32, b".")


class BackendContract(ABC):
    """Run for each backend.

    ``SIGNING_KINDS``: the types of signing keys that it can generate. ``OTHER_KINDS``: types that it must refuse.
    ``CAN_WRAP``: whether it can generate a key of type AES_256 that wraps secrets. ``QUICK_KIND``: a type of signing
    key that is generated quickly.

    A backend is opened in the event loop that uses it, and keys stay in its token or service between tests.
    """

    SIGNING_KINDS: tuple[KeyType, ...]
    OTHER_KINDS: tuple[KeyType, ...] = (KeyType.AES_128,)
    CAN_WRAP = True
    QUICK_KIND = KeyType.EC_P256

    @abstractmethod
    def open_backend(self) -> AbstractAsyncContextManager[KeyBackend]:
        """Open the backend, and close it at the end of the block."""

    @abstractmethod
    def name_key(self, label: str) -> str:
        """Return the name of a key without the scheme, for example with a mount or token in front of ``label``."""

    # ---- names and descriptions

    def test_opened_backend_passes_its_probe(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                await backend.probe()

        asyncio.run(scenario())

    def test_generated_key_is_described_and_listed(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                for kind in self._covered_kinds():
                    name, key = await backend.generate(self._new_name(), kind)
                    assert await backend.describe(name) == key
                    assert await backend.resolve(name) == name
                    assert (key.kind, bool(key.public_key)) == (kind, not kind.symmetric)
                    assert kind in [listed.kind for listed in await backend.list_keys() if listed.name == name]
                    self._check_capabilities(key)
                listed_names = [listed.name for listed in await backend.list_keys()]
                assert listed_names == sorted(set(listed_names))

        asyncio.run(scenario())

    def _check_capabilities(self, key: BackendKey) -> None:
        known = {name for name, spec in SIGNATURES.items() if key.kind in spec.key_kinds}
        assert set(key.capabilities.algorithms) <= known
        assert bool(key.capabilities.algorithms) is not key.kind.symmetric
        assert key.capabilities.can_wrap is key.kind.symmetric
        assert key.capabilities.can_generate
        if key.public_key is not None:
            assert key_type_of(load_pem_public_key(key.public_key.encode())) is key.kind

    def test_unsupported_type_is_refused(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                for kind in self.OTHER_KINDS:
                    name = self._new_name()
                    with pytest.raises(InvalidKeyError):
                        await backend.generate(name, kind)
                    with pytest.raises(NotFoundError):
                        await backend.describe(name)

        asyncio.run(scenario())

    def test_name_in_use_is_refused(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                requested_name = self._new_name()
                name, key = await backend.generate(requested_name, self.QUICK_KIND)
                with pytest.raises(AlreadyExistsError):
                    await backend.generate(requested_name, self.QUICK_KIND)
                assert await backend.describe(name) == key

        asyncio.run(scenario())

    def test_unknown_key_is_not_found(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                name, known_name = self._new_name(), self._new_name()
                _, key = await backend.generate(known_name, self.QUICK_KIND)
                algorithm = key.capabilities.algorithms[0]
                for operation in (
                    backend.resolve(name),
                    backend.describe(name),
                    backend.rotate(name),
                    backend.sign(name, key.native_id, algorithm, b"message", None),
                    backend.wrap(name, key.native_id, SECRET, b""),
                    backend.unwrap(name, key.native_id, SECRET, b""),
                ):
                    with pytest.raises((NotFoundError, InvalidKeyError)):
                        await operation
                assert name not in [listed.name for listed in await backend.list_keys()]

        asyncio.run(scenario())

    # ---- signatures

    def test_signatures_verify_for_all_algorithms(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                for kind in self._covered_kinds():
                    if kind.symmetric:
                        continue
                    name, key = await backend.generate(self._new_name(), kind)
                    for algorithm in key.capabilities.algorithms:
                        await self._sign_and_verify(backend, name, key, algorithm)

        asyncio.run(scenario())

    async def _sign_and_verify(
        self, backend: KeyBackend, name: str, key: BackendKey, algorithm: SigningAlgorithm
    ) -> None:
        assert key.public_key is not None
        public_key, spec = load_pem_public_key(key.public_key.encode()), SIGNATURES[algorithm]
        limit = key.capabilities.max_message_bytes or 5000
        if spec.input is SigningInput.MESSAGE:
            for message in (b"message", b"", secrets.token_bytes(limit)):
                if not message and not self.signs_empty_messages(algorithm):
                    continue
                signature = await backend.sign(name, key.native_id, algorithm, message, None)
                assert verify(public_key, algorithm, message, signature, prehashed=False), algorithm
        if spec.hash is not None and spec.hash in key.capabilities.digests:
            digest = hashlib.new(spec.hash, b"message").digest()
            signature = await backend.sign(name, key.native_id, algorithm, digest, spec.hash)
            assert verify(public_key, algorithm, digest, signature, prehashed=True), algorithm

    def signs_empty_messages(self, algorithm: SigningAlgorithm) -> bool:
        """Whether the backend signs an empty message; services may refuse it."""
        return True

    def test_wrong_digest_length_is_refused(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                name, key = await backend.generate(self._new_name(), KeyType.EC_P256)
                for length in (0, 31, 33, 64):
                    with pytest.raises((InvalidInputError, InvalidKeyError)):
                        await backend.sign(
                            name, key.native_id, SigningAlgorithm.SHA256_ECDSA, bytes(length), HashName.SHA256
                        )

        asyncio.run(scenario())

    def test_algorithm_of_another_key_type_is_refused(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                name, key = await backend.generate(self._new_name(), KeyType.EC_P256)
                for algorithm in (SigningAlgorithm.ED25519, SigningAlgorithm.SHA256_PSS, SigningAlgorithm.ML_DSA_65):
                    with pytest.raises(InvalidKeyError):
                        await backend.sign(name, key.native_id, algorithm, b"message", None)
                with pytest.raises(InvalidKeyError):
                    await backend.wrap(name, key.native_id, SECRET, b"")

        asyncio.run(scenario())

    def test_concurrent_signatures_verify(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                name, key = await backend.generate(self._new_name(), KeyType.EC_P256)
                assert key.public_key is not None
                public_key = load_pem_public_key(key.public_key.encode())
                messages = [secrets.token_bytes(100) for _ in range(30)]
                algorithm = SigningAlgorithm.SHA256_ECDSA
                signatures = await asyncio.gather(
                    *(backend.sign(name, key.native_id, algorithm, message, None) for message in messages)
                )
                for message, signature in zip(messages, signatures, strict=True):
                    assert verify(public_key, algorithm, message, signature, prehashed=False)

        asyncio.run(scenario())

    # ---- versions

    def test_rotation_adds_a_version_or_is_refused(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                name, first = await backend.generate(self._new_name(), KeyType.EC_P256)
                if not first.capabilities.can_rotate:
                    with pytest.raises(InvalidKeyError):
                        await backend.rotate(name)
                    return
                second = await backend.rotate(name)
                assert second.native_id != first.native_id
                assert second.public_key != first.public_key
                for key in (first, second):
                    await self._sign_and_verify(backend, name, key, SigningAlgorithm.SHA256_ECDSA)

        asyncio.run(scenario())

    # ---- wrapped secrets

    def test_unwrap_returns_wrapped_secret(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                name, key = await self._generate_wrapping_key(backend)
                for length in (1, 16, 32, MAX_WRAPPED_SECRET_BYTES):
                    secret = secrets.token_bytes(length)
                    wrapped = await backend.wrap(name, key.native_id, secret, b"context")
                    assert secret not in wrapped or length == 1
                    assert await backend.unwrap(name, key.native_id, wrapped, b"context") == secret
                wrapped = await backend.wrap(name, key.native_id, SECRET, b"")
                assert await backend.unwrap(name, key.native_id, wrapped, b"") == SECRET
                assert wrapped != await backend.wrap(name, key.native_id, SECRET, b"")

        asyncio.run(scenario())

    def test_unwrap_rejects_changed_values(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                name, key = await self._generate_wrapping_key(backend)
                other_name, other_key = await self._generate_wrapping_key(backend)
                wrapped = await backend.wrap(name, key.native_id, SECRET, b"context")
                positions = range(0, len(wrapped), 1 if IS_FULL else max(1, len(wrapped) // 20))
                changed = [
                    wrapped[:position] + bytes([wrapped[position] ^ 1]) + wrapped[position + 1 :]
                    for position in positions
                ]
                for value, associated_data in (
                    *((value, b"context") for value in changed),
                    (wrapped[:-1], b"context"),
                    (b"", b"context"),
                    (wrapped, b""),
                    (wrapped, b"Context"),
                ):
                    with pytest.raises(InvalidKeyError):
                        await backend.unwrap(name, key.native_id, value, associated_data)
                with pytest.raises(InvalidKeyError):
                    await backend.unwrap(other_name, other_key.native_id, wrapped, b"context")
                assert await backend.unwrap(name, key.native_id, wrapped, b"context") == SECRET

        asyncio.run(scenario())

    def test_wrapping_key_does_not_sign(self) -> None:
        async def scenario() -> None:
            async with self.open_backend() as backend:
                name, key = await self._generate_wrapping_key(backend)
                with pytest.raises(InvalidKeyError):
                    await backend.sign(name, key.native_id, SigningAlgorithm.SHA256_ECDSA, b"message", None)

        asyncio.run(scenario())

    async def _generate_wrapping_key(self, backend: KeyBackend) -> tuple[str, BackendKey]:
        if not self.CAN_WRAP:
            pytest.skip("this backend has no wrapping keys")
        return await backend.generate(self._new_name(), KeyType.AES_256)

    def _covered_kinds(self) -> tuple[KeyType, ...]:
        """Return the types to generate: all of them in a full run, otherwise not several sizes of RSA keys."""
        kinds = (*self.SIGNING_KINDS, *((KeyType.AES_256,) if self.CAN_WRAP else ()))
        if IS_FULL:
            return kinds
        rsa_kinds = [kind for kind in kinds if kind.startswith("RSA")]
        return tuple(kind for kind in kinds if kind not in rsa_kinds or kind is KeyType.RSA_3072)

    def _new_name(self) -> str:
        return self.name_key(f"contract-{secrets.token_hex(6)}")
