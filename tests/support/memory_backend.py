"""A key backend that keeps its keys in memory, with the limits of a key service."""

from __future__ import annotations

import msgspec

from sealyard.crypto.algorithms import SIGNATURES
from sealyard.crypto.certificates import encode_public_key
from sealyard.crypto.signatures import PrivateKey, sign
from sealyard.keys.capabilities import describe_capabilities
from sealyard.keys.material import Material, generate_key, key_type_of
from sealyard.keys.wrapping import unwrap_secret, wrap_secret
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey, ListedKey
from sealyard.model.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    KeyProviderUnavailableError,
    NotFoundError,
)

MAX_MESSAGE_BYTES = 4096
ALIAS_PREFIX = "alias/"


class MemoryBackend:
    """Names that start with ``alias/`` are resolved to the rest of the name.

    While ``is_available`` is false, each call raises :class:`KeyProviderUnavailableError`. With ``signs_wrongly``,
    signatures are those of another message.
    """

    def __init__(self) -> None:
        self.is_available = True
        self.signs_wrongly = False
        self.signed: list[tuple[SigningAlgorithm, bytes, HashName | None]] = []
        self._keys: dict[str, list[Material]] = {}

    def insert(self, name: str, *versions: Material) -> None:
        self._keys[name] = [*versions]

    async def close(self) -> None:
        self.is_available = False

    async def probe(self) -> None:
        self._require_available()

    async def list_keys(self) -> tuple[ListedKey, ...]:
        self._require_available()
        return tuple(ListedKey(name=name, kind=key_type_of(keys[-1])) for name, keys in sorted(self._keys.items()))

    async def resolve(self, name: str) -> str:
        self._versions(name.removeprefix(ALIAS_PREFIX))
        return name.removeprefix(ALIAS_PREFIX)

    async def describe(self, name: str) -> BackendKey:
        versions = self._versions(name)
        return _describe(len(versions), versions[-1])

    async def generate(self, name: str, kind: KeyType) -> tuple[str, BackendKey]:
        self._require_available()
        if kind is KeyType.AES_128:
            raise InvalidKeyError("This service has no keys of type AES_128.", "Use AES_256.")
        if name in self._keys:
            raise AlreadyExistsError(f"Key {name} already exists.", "Choose another name.")
        self._keys[name] = [generate_key(kind)]
        return name, await self.describe(name)

    async def rotate(self, name: str) -> BackendKey:
        versions = self._versions(name)
        versions.append(generate_key(key_type_of(versions[-1])))
        return await self.describe(name)

    async def sign(
        self, name: str, native_id: str, algorithm: SigningAlgorithm, data: bytes, digest: HashName | None
    ) -> bytes:
        key = self._version(name, native_id)
        self.signed.append((algorithm, data, digest))
        if not isinstance(key, PrivateKey) or key_type_of(key) not in SIGNATURES[algorithm].key_kinds:
            raise InvalidKeyError(f"{name} cannot sign with {algorithm}.")
        if digest is None and len(data) > MAX_MESSAGE_BYTES:
            raise InvalidKeyError("The message is too long.")
        if self.signs_wrongly:
            data = bytes(len(data))
        return sign(key, algorithm, data, prehashed=digest is not None)

    async def wrap(self, name: str, native_id: str, secret: bytes, associated_data: bytes) -> bytes:
        return wrap_secret(self._symmetric_key(name, native_id), secret, associated_data)

    async def unwrap(self, name: str, native_id: str, wrapped: bytes, associated_data: bytes) -> bytes:
        return unwrap_secret(self._symmetric_key(name, native_id), wrapped, associated_data)

    def _symmetric_key(self, name: str, native_id: str) -> bytes:
        key = self._version(name, native_id)
        if not isinstance(key, bytes):
            raise InvalidKeyError(f"{name} cannot wrap secrets.")
        return key

    def _version(self, name: str, native_id: str) -> Material:
        versions = self._versions(name)
        if not native_id.isdecimal() or not 1 <= int(native_id) <= len(versions):
            raise NotFoundError(f"{name} has no version {native_id}.")
        return versions[int(native_id) - 1]

    def _versions(self, name: str) -> list[Material]:
        self._require_available()
        if name not in self._keys:
            raise NotFoundError(f"Key {name} not found.")
        return self._keys[name]

    def _require_available(self) -> None:
        if not self.is_available:
            raise KeyProviderUnavailableError("The service does not answer.")


def _describe(number: int, key: Material) -> BackendKey:
    return BackendKey(
        native_id=str(number),
        kind=key_type_of(key),
        public_key=encode_public_key(key.public_key()) if isinstance(key, PrivateKey) else None,
        capabilities=msgspec.structs.replace(
            describe_capabilities(key_type_of(key)),
            max_message_bytes=MAX_MESSAGE_BYTES,
            can_import=False,
            can_export=False,
        ),
    )
