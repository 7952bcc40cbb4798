"""Envelope encryption: a secret is encrypted with a fresh data key, which KMS encrypts.

A wrapped secret is a version byte, the length of the encrypted data key (2 bytes, big-endian), the encrypted data key,
and the secret as :mod:`sealyard.keys.wrapping` encrypts it (AES-256-GCM). The data key is bound to the associated data
twice: by the encryption context of KMS, and because its encrypted form and the associated data are authenticated with
the secret.
"""

from __future__ import annotations

import base64

from sealyard.keys.wrapping import unwrap_secret, wrap_secret
from sealyard.model.errors import InvalidKeyError

CONTEXT_KEY = "sealyard"
"""Key of the encryption context. CloudTrail logs the context, which is not secret."""

_VERSION = b"\x01"
_HEADER_LENGTH = 3


def encryption_context(associated_data: bytes) -> dict[str, str]:
    """Return the encryption context of ``associated_data``. The prefix keeps the value from being empty."""
    return {CONTEXT_KEY: f"base64:{base64.b64encode(associated_data).decode()}"}


def seal_envelope(data_key: bytes, encrypted_data_key: bytes, secret: bytes, associated_data: bytes) -> bytes:
    """Return the wrapped secret."""
    header = _VERSION + len(encrypted_data_key).to_bytes(2, "big") + encrypted_data_key
    return header + wrap_secret(data_key, secret, header + associated_data)


def read_encrypted_data_key(uri: str, wrapped: bytes) -> bytes:
    """Return the encrypted data key. Raises :class:`InvalidKeyError` if ``wrapped`` is not a wrapped secret."""
    length = int.from_bytes(wrapped[1:_HEADER_LENGTH], "big")
    if wrapped[:1] != _VERSION or not 0 < length < len(wrapped) - _HEADER_LENGTH:
        raise InvalidKeyError(
            f"A secret cannot be decrypted with {uri}: it was changed, or is not one of AWS KMS.",
            "Restore the workspace from a backup.",
        )
    return wrapped[_HEADER_LENGTH : _HEADER_LENGTH + length]


def open_envelope(data_key: bytes, encrypted_data_key: bytes, wrapped: bytes, associated_data: bytes) -> bytes:
    """Return the secret. Raises :class:`InvalidKeyError` if ``wrapped`` or ``associated_data`` was changed."""
    header_length = _HEADER_LENGTH + len(encrypted_data_key)
    return unwrap_secret(data_key, wrapped[header_length:], wrapped[:header_length] + associated_data)
