"""Wrap secrets with AES-256-GCM (NIST SP 800-38D) and associated data.

The encryption key is derived from the wrapping key with HKDF-SHA256 (RFC 5869), so that a key that also encrypts
content is not used with two modes of operation. A wrapped secret is a version byte, a random nonce of 12 bytes, and the
ciphertext with its tag.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealyard.keys.provider import MAX_WRAPPED_SECRET_BYTES
from sealyard.model.errors import InvalidInputError, InvalidKeyError

_VERSION = b"\x01"
_NONCE_LENGTH = 12
_KEY_LENGTH = 32
_KEY_INFO = b"sealyard wrap 1"


def wrap_secret(key: bytes, secret: bytes, associated_data: bytes) -> bytes:
    """Wrap ``secret``; see :meth:`sealyard.keys.provider.KeyProvider.wrap`."""
    check_secret_size(secret)
    nonce = secrets.token_bytes(_NONCE_LENGTH)
    return _VERSION + nonce + _create_aead(key).encrypt(nonce, secret, associated_data)


def check_secret_size(secret: bytes) -> None:
    """Raise :class:`InvalidInputError` if ``secret`` is empty or too large to be wrapped."""
    if not 1 <= len(secret) <= MAX_WRAPPED_SECRET_BYTES:
        raise InvalidInputError(f"A secret to wrap must have 1 to {MAX_WRAPPED_SECRET_BYTES} bytes.")


def unwrap_secret(key: bytes, wrapped: bytes, associated_data: bytes) -> bytes:
    """Unwrap a secret; see :meth:`sealyard.keys.provider.KeyProvider.unwrap`."""
    version, nonce, ciphertext = wrapped[:1], wrapped[1 : 1 + _NONCE_LENGTH], wrapped[1 + _NONCE_LENGTH :]
    try:
        if version != _VERSION:
            raise ValueError("unknown version")
        return _create_aead(key).decrypt(nonce, ciphertext, associated_data)
    except (InvalidTag, ValueError):
        raise InvalidKeyError(
            "A wrapped secret cannot be opened: it was changed, or wrapped with another key or purpose.",
            "Restore the workspace from a backup.",
        ) from None


def _create_aead(key: bytes) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=_KEY_LENGTH, salt=None, info=_KEY_INFO).derive(key))
