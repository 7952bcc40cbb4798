"""A key backend of another package: it keeps keys in files, so that they outlive its process.

``PYTHONPATH`` has to contain this folder; see ``tests/support/provider_process.py``. Files in its folder control it:
``pin`` has the expected PIN, ``unavailable`` makes every call fail, and ``logins`` gets a line for each login.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import msgspec

from sealyard.crypto.algorithms import SIGNATURES
from sealyard.crypto.signatures import sign
from sealyard.keys.capabilities import describe_capabilities
from sealyard.keys.material import Material, from_bytes, generate_key, to_bytes
from sealyard.keys.wrapping import unwrap_secret, wrap_secret
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey, ListedKey
from sealyard.model.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    KeyProviderError,
    KeyProviderUnavailableError,
    NotFoundError,
)
from sealyard.model.provider_settings import ProviderSettings, Secrets


class Options(msgspec.Struct, forbid_unknown_fields=True):
    folder: str


class StoredKey(msgspec.Struct):
    kind: KeyType
    versions: list[bytes]


class FileKeyBackend:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    async def open(cls, settings: ProviderSettings, secrets: Secrets) -> Self:
        folder = Path(settings.parse_options(Options).folder)
        backend = cls(folder)
        backend._check_availability()
        if (folder / "pin").exists():
            with (folder / "logins").open("a") as file:
                file.write("login\n")
            if secrets.require("pin", settings) != (folder / "pin").read_bytes():
                raise KeyProviderError(f"The PIN of {settings.name} is wrong.", "Correct it.")
        return backend

    async def close(self) -> None:
        pass

    async def probe(self) -> None:
        self._check_availability()

    async def list_keys(self) -> tuple[ListedKey, ...]:
        names = sorted(path.stem for path in self._folder.glob("*.json"))
        return tuple(ListedKey(name=name, kind=self._load(name).kind, label=name.upper()) for name in names)

    async def resolve(self, name: str) -> str:
        self._load(name.lower())
        return name.lower()

    async def describe(self, name: str) -> BackendKey:
        key = self._load(name)
        return describe(key, len(key.versions))

    async def generate(self, name: str, kind: KeyType) -> tuple[str, BackendKey]:
        name = name.lower()
        if self._path(name).exists():
            raise AlreadyExistsError(f"The key {name} already exists.", "Choose another name.")
        key = StoredKey(kind, [to_bytes(generate_key(kind))])
        self._save(name, key)
        return name, describe(key, 1)

    async def rotate(self, name: str) -> BackendKey:
        key = self._load(name)
        key.versions.append(to_bytes(generate_key(key.kind)))
        self._save(name, key)
        return describe(key, len(key.versions))

    async def sign(
        self, name: str, native_id: str, algorithm: SigningAlgorithm, data: bytes, digest: HashName | None
    ) -> bytes:
        kind, material = self._material(name, native_id)
        if isinstance(material, bytes) or kind not in SIGNATURES[algorithm].key_kinds:
            raise InvalidKeyError(f"The key {name} cannot sign with {algorithm}.", "Use another key.")
        if digest is not None and digest is not SIGNATURES[algorithm].hash:
            raise InvalidKeyError(f"The key {name} cannot sign such a digest.", "Use another key.")
        return sign(material, algorithm, data, prehashed=digest is not None)

    async def wrap(self, name: str, native_id: str, secret: bytes, associated_data: bytes) -> bytes:
        return wrap_secret(self._wrapping_key(name, native_id), secret, associated_data)

    async def unwrap(self, name: str, native_id: str, wrapped: bytes, associated_data: bytes) -> bytes:
        return unwrap_secret(self._wrapping_key(name, native_id), wrapped, associated_data)

    def _wrapping_key(self, name: str, native_id: str) -> bytes:
        kind, material = self._material(name, native_id)
        if kind is not KeyType.AES_256 or not isinstance(material, bytes):
            raise InvalidKeyError(f"The key {name} cannot wrap secrets.", "Use an AES-256 key.")
        return material

    def _material(self, name: str, native_id: str) -> tuple[KeyType, Material]:
        key = self._load(name)
        if not native_id.isdecimal() or not 1 <= int(native_id) <= len(key.versions):
            raise NotFoundError(f"The key {name} has no version {native_id}.")
        return key.kind, from_bytes(key.kind, key.versions[int(native_id) - 1])

    def _check_availability(self) -> None:
        if (self._folder / "unavailable").exists():
            raise KeyProviderUnavailableError(f"The folder {self._folder} is unavailable.", "Remove the file.")

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _load(self, name: str) -> StoredKey:
        self._check_availability()
        try:
            return msgspec.json.decode(self._path(name).read_bytes(), type=StoredKey)
        except FileNotFoundError:
            raise NotFoundError(f"There is no key {name}.", "Use another name.") from None

    def _save(self, name: str, key: StoredKey) -> None:
        self._path(name).write_bytes(msgspec.json.encode(key))


def describe(key: StoredKey, number: int) -> BackendKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    material = from_bytes(key.kind, key.versions[number - 1])
    capabilities = msgspec.structs.replace(describe_capabilities(key.kind), can_import=False, can_export=False)
    if isinstance(material, bytes):
        return BackendKey(native_id=str(number), kind=key.kind, capabilities=capabilities)
    public_key = material.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return BackendKey(native_id=str(number), kind=key.kind, public_key=public_key, capabilities=capabilities)
