"""Secrets that must be read again, such as those of webhooks: kept sealed, so that no document tells them.

AES-256-GCM under a random key of the workspace (32 bytes, in a file of mode 0600 beside its documents); what a secret
is about is authenticated with it, so that none can be put in another's place. The text is Base64 of nonce and
ciphertext.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from sealyard.model.errors import KeyStoreCorruptedError
from sealyard.storage.key_file import KEY_BYTES, create_random_key

NONCE_BYTES = 12


class SecretBox:
    """The key is made when the first secret is sealed, and is on the disk before anything under it."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file

    def encrypt(self, secret: bytes, about: str) -> str:
        """``about``: whose secret of what kind it is. Raises :class:`StorageError`, :class:`KeyStoreCorruptedError`."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(NONCE_BYTES)
        if not self._key_file.exists():
            create_random_key(self._key_file, "the key of sealed secrets")
        sealed = AESGCM(self._key()).encrypt(nonce, secret, about.encode())
        return base64.b64encode(nonce + sealed).decode()

    def decrypt(self, sealed: str, about: str) -> bytes:
        """Raises :class:`KeyStoreCorruptedError` where it was not sealed here, or not about this."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            data = base64.b64decode(sealed, validate=True)
            return AESGCM(self._key()).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], about.encode())
        except (InvalidTag, ValueError) as error:
            raise KeyStoreCorruptedError(
                f"The sealed secret of {about} cannot be read.", "Remove it and make a new one."
            ) from error

    def _key(self) -> bytes:
        try:
            key = self._key_file.read_bytes()
        except OSError as error:
            raise _corrupted(error.strerror or "unreadable") from error
        if len(key) != KEY_BYTES:
            raise _corrupted(f"it has {len(key)} bytes")
        return key


def _corrupted(how: str) -> KeyStoreCorruptedError:
    return KeyStoreCorruptedError(
        f"The key of sealed secrets (keys/secrets) cannot be read: {how}.", "Restore it, or make the secrets anew."
    )
