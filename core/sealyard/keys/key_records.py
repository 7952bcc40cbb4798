"""Records of keys in tokens and key services: their versions and certificates.

The folder contains one file per key, named by the SHA-256 of its URI: a JSON object with the record and its
HMAC-SHA256, under a key that is derived from the master key. A record that another program changed is rejected:
otherwise a signature by another key could pass the verification with a forged public key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from sealyard.fs.atomic import storage_error, write_atomic
from sealyard.fs.locks import lock_file
from sealyard.fs.private import make_private_dir
from sealyard.keys.derived_keys import derive_key
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import KeyStoreCorruptedError, NotFoundError
from sealyard.model.keys import KeyCapabilities, KeyInfo

_KEY_INFO = b"sealyard key records 1"
_LOCK_FILE = ".lock"


class KeyRecord(FrozenStruct, frozen=True, kw_only=True):
    """The versions of a key, and what its token or service can do with it."""

    info: KeyInfo
    capabilities: KeyCapabilities


class _RecordFile(FrozenStruct, frozen=True, kw_only=True):
    record: KeyRecord
    mac: bytes


class KeyRecords:
    """The records of the keys of a workspace. All methods raise :class:`StorageError` if a file cannot be accessed."""

    def __init__(self, folder: Path, master_key: bytes) -> None:
        self._folder = folder
        self._mac_key = derive_key(master_key, _KEY_INFO)

    def find(self, uri: str) -> KeyRecord | None:
        """Return the record of the key, or None if it was not registered.

        Raises :class:`KeyStoreCorruptedError` if the record was changed.
        """
        path = self._path(uri)
        try:
            file = msgspec.json.decode(path.read_bytes(), type=_RecordFile)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(error, "reading the key records") from error
        except JSON_ERRORS as error:
            raise _corrupted_error(uri, path) from error
        if not hmac.compare_digest(file.mac, self._mac(file.record)) or file.record.info.uri != uri:
            raise _corrupted_error(uri, path)
        return file.record

    def get(self, uri: str) -> KeyRecord:
        """Return the record of the key. Raises :class:`NotFoundError` if it was not registered."""
        record = self.find(uri)
        if record is None:
            raise NotFoundError(f"Key {uri} is not registered.", "Register or generate it first.")
        return record

    def update(self, uri: str, change: Callable[[KeyRecord | None], KeyRecord]) -> KeyRecord:
        """Store the result of ``change``, which receives the present record, and return it.

        The records are locked meanwhile: two workers must not create the same version of a key.
        """
        with ExitStack() as stack:
            try:
                make_private_dir(self._folder)
                stack.enter_context(lock_file(self._folder / _LOCK_FILE))
                current = self.find(uri)
            except OSError as error:
                raise storage_error(error, "writing the key records") from error
            record = change(current)
            if record != current:
                self._save(record)
            return record

    def _save(self, record: KeyRecord) -> None:
        content = msgspec.json.encode(_RecordFile(record=record, mac=self._mac(record)))
        try:
            write_atomic(self._path(record.info.uri), content)
        except OSError as error:
            raise storage_error(error, "writing the key records") from error

    def _path(self, uri: str) -> Path:
        return self._folder / f"{hashlib.sha256(uri.encode()).hexdigest()}.json"

    def _mac(self, record: KeyRecord) -> bytes:
        return hmac.digest(self._mac_key, canonical_json(record), "sha256")


def _corrupted_error(uri: str, path: Path) -> KeyStoreCorruptedError:
    return KeyStoreCorruptedError(
        f"Cannot use the key {uri}: its record {path.name} is damaged.", "Restore the workspace from a backup."
    )
