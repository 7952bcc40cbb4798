"""Secrets that the engine must read again, sealed for the journal: a copy of the journal alone gives none away.

AES-256-GCM under a random key of the workspace, in a file of mode 0600 beside the keys. A sealed secret belongs to one
owner: the owner's name is the associated data. It is written as Base64 of nonce (12 bytes), ciphertext and tag.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

from sealyard.model.errors import KeyStoreDamagedError
from sealyard.storage import disk

KEY_BYTES = 32
NONCE_BYTES = 12


class SecretBox:
    """Makes its key when the first secret is sealed."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file

    def seal(self, secret: bytes, owner: str) -> str:
        """Raises :class:`StorageError` where the key cannot be made."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(self._key()).encrypt(nonce, secret, owner.encode())
        return base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, owner: str) -> bytes:
        """Raises :class:`KeyStoreDamagedError` for what was not sealed here for this owner."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            data = base64.b64decode(sealed)
            return AESGCM(self._key_file.read_bytes()).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], owner.encode())
        except (OSError, ValueError, InvalidTag) as error:
            raise KeyStoreDamagedError(
                f"A secret of {owner} cannot be read: its key is missing or another.",
                f"Bring back {self._key_file.name} in the folder of the keys, or make the secret anew.",
            ) from error

    def _key(self) -> bytes:
        try:
            if not self._key_file.exists():
                self._make_key()
            return self._key_file.read_bytes()
        except OSError as error:
            raise disk.storage_error(error, "the key of sealed secrets") from error

    def _make_key(self) -> None:
        """Whole or not at all: what is sealed under a torn key would be lost."""
        temporary = self._key_file.with_suffix(".new")
        descriptor = disk.create(temporary)
        try:
            disk.write_all(descriptor, secrets.token_bytes(KEY_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        disk.rename(temporary, self._key_file)
        disk.sync_folder(self._key_file.parent)
