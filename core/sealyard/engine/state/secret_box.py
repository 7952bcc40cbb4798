"""Encrypt secrets that must be readable again, such as webhook secrets, so that no document holds them in plain text.

Uses AES-256-GCM with a key derived from the master key of the workspace. The context of a secret is passed as
associated data, so that one encrypted secret cannot be substituted for another. An encrypted secret is the Base64
encoding of nonce and ciphertext.
"""

from __future__ import annotations

import base64
import secrets

from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError

NONCE_BYTES = 12


class SecretBox:
    """Encrypts and decrypts secrets. ``key`` (32 bytes) is None in an engine that only reads, which can do neither."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def encrypt(self, secret: bytes, context: str) -> str:
        """Encrypt a secret, and return the result as Base64. ``context`` identifies its owner and purpose.

        Raises :class:`KeyStoreLockedError` without a key.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = secrets.token_bytes(NONCE_BYTES)
        ciphertext = AESGCM(self._require_key()).encrypt(nonce, secret, context.encode())
        return base64.b64encode(nonce + ciphertext).decode()

    def decrypt(self, encrypted_secret: str, context: str) -> bytes:
        """Decrypt a secret that :meth:`encrypt` returned.

        Raises :class:`KeyStoreCorruptedError` if the secret was encrypted with another key or for another ``context``,
        and :class:`KeyStoreLockedError` without a key.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = self._require_key()
        try:
            nonce_and_ciphertext = base64.b64decode(encrypted_secret, validate=True)
            return AESGCM(key).decrypt(
                nonce_and_ciphertext[:NONCE_BYTES], nonce_and_ciphertext[NONCE_BYTES:], context.encode()
            )
        except (InvalidTag, ValueError) as error:
            raise KeyStoreCorruptedError(
                f"Cannot decrypt the secret of {context}.", "Remove it and create a new one."
            ) from error

    def _require_key(self) -> bytes:
        if self._key is None:
            raise KeyStoreLockedError("The workspace is open read-only.", "Open it for writing.")
        return self._key
