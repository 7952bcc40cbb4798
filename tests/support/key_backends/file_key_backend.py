"""A key backend of another package: it keeps keys in files, so that they outlive its process.

``PYTHONPATH`` has to contain this folder; see ``tests/support/provider_process.py``. Files in the folder of the keys
control the backend: ``pin`` has the expected PIN, ``unavailable`` makes every call fail, ``crash`` ends the process
when it is opened, and ``logins`` gets a line for each login. The description of the key ``endless`` never ends.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Self

import msgspec
from tests.support.memory_backend import MemoryBackend

from sealyard.keys.material import from_bytes, key_type_of, to_bytes
from sealyard.model.algorithms import KeyType
from sealyard.model.backend_keys import BackendKey
from sealyard.model.errors import KeyProviderError, KeyProviderUnavailableError
from sealyard.model.provider_settings import ProviderSettings, Secrets


class Options(msgspec.Struct, forbid_unknown_fields=True):
    folder: str


class StoredKey(msgspec.Struct):
    kind: KeyType
    versions: list[bytes]


class FileKeyBackend(MemoryBackend):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        for path in folder.glob("*.json"):
            key = msgspec.json.decode(path.read_bytes(), type=StoredKey)
            self.insert(path.stem, *(from_bytes(key.kind, version) for version in key.versions))

    @classmethod
    async def open(cls, settings: ProviderSettings, secrets: Secrets) -> Self:
        backend = cls(Path(settings.parse_options(Options).folder))
        backend._require_available()
        if (backend._folder / "crash").exists():
            os._exit(1)
        backend._log_in(settings, secrets)
        return backend

    async def describe(self, name: str) -> BackendKey:
        if name == "endless":
            await asyncio.Event().wait()
        return await super().describe(name)

    async def generate(self, name: str, kind: KeyType) -> tuple[str, BackendKey]:
        result = await super().generate(name, kind)
        self._save(name)
        return result

    async def rotate(self, name: str) -> BackendKey:
        key = await super().rotate(name)
        self._save(name)
        return key

    def _log_in(self, settings: ProviderSettings, secrets: Secrets) -> None:
        pin = self._folder / "pin"
        if not pin.exists():
            return
        with (self._folder / "logins").open("a") as file:
            file.write("login\n")
        if secrets.require("pin", settings) != pin.read_bytes():
            raise KeyProviderError(f"The PIN of {settings.name} is wrong.", "Correct it.")

    def _save(self, name: str) -> None:
        versions = self._versions(name)
        key = StoredKey(key_type_of(versions[0]), [to_bytes(version) for version in versions])
        (self._folder / f"{name}.json").write_bytes(msgspec.json.encode(key))

    def _require_available(self) -> None:
        if (self._folder / "unavailable").exists():
            raise KeyProviderUnavailableError(f"The token in {self._folder} is unavailable.", "Insert it.")
