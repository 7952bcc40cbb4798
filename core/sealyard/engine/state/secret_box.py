"""Encrypt secrets that must be readable again, such as webhook secrets, so that no document holds them in plain text.

Uses AES-256-GCM with a random key of the workspace (32 bytes, in a file of mode 0600). The context of a secret is
passed as associated data, so that one encrypted secret cannot be substituted for another. An encrypted secret is the
Base64 encoding of nonce and ciphertext.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

from sealyard.fs.private import KEY_BYTES, create_random_key
from sealyard.model.errors import KeyStoreCorruptedError
from sealyard.model.formatting import format_count

NONCE_BYTES = 12


class SecretBox:
    """Encrypts and decrypts secrets with the workspace's key.

    The key file is created when the first secret is encrypted. It is durable before any secret encrypted with it is
    returned.
    """

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file

    def encrypt(self, secret: bytes, context: str) -> str:
        """Encrypt a secret, and return the result as Base64. ``context`` identifies its owner and purpose.

        Raises :class:`StorageError` if the key file cannot be created, and :class:`KeyStoreCorruptedError` if it is
        damaged.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(NONCE_BYTES)
        if not self._key_file.exists():
            create_random_key(self._key_file, "the key of encrypted secrets")
        ciphertext = AESGCM(self._load_key()).encrypt(nonce, secret, context.encode())
        return base64.b64encode(nonce + ciphertext).decode()

    def decrypt(self, encrypted_secret: str, context: str) -> bytes:
        """Decrypt a secret that :meth:`encrypt` returned.

        Raises :class:`KeyStoreCorruptedError` if the secret was encrypted with another key or for another ``context``,
        or if the key file is damaged.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            nonce_and_ciphertext = base64.b64decode(encrypted_secret, validate=True)
            return AESGCM(self._load_key()).decrypt(
                nonce_and_ciphertext[:NONCE_BYTES], nonce_and_ciphertext[NONCE_BYTES:], context.encode()
            )
        except (InvalidTag, ValueError) as error:
            raise KeyStoreCorruptedError(
                f"Cannot decrypt the secret of {context}.", "Remove it and create a new one."
            ) from error

    def _load_key(self) -> bytes:
        try:
            key = self._key_file.read_bytes()
        except OSError as error:
            raise _corrupted_error(error.strerror or "unreadable") from error
        if len(key) != KEY_BYTES:
            raise _corrupted_error(f"it has {format_count(len(key), 'byte')}")
        return key


def _corrupted_error(cause: str) -> KeyStoreCorruptedError:
    return KeyStoreCorruptedError(
        f"Cannot read the key of encrypted secrets (keys/secrets): {cause}.", "Restore it, or create the secrets again."
    )
