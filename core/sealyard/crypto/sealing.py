"""Encryption of key commands and their responses, with HPKE (RFC 9180): X25519, HKDF-SHA256, AES-256-GCM."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from sealyard.model.errors import IntegrityError

COMMAND_INFO = b"sealyard zone command 1"
RESPONSE_INFO = b"sealyard zone response 1"

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def seal(public_key: bytes, plaintext: bytes, info: bytes) -> bytes:
    """Encrypt ``plaintext`` to a raw X25519 public key. ``info`` names the purpose."""
    return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public_key), info)


def unseal(private_key: bytes, ciphertext: bytes, info: bytes) -> bytes:
    """Decrypt with a raw X25519 private key. Raises :class:`IntegrityError` if the content is not for this key."""
    try:
        return _SUITE.decrypt(ciphertext, X25519PrivateKey.from_private_bytes(private_key), info)
    except (InvalidTag, ValueError):
        raise IntegrityError("An encrypted message cannot be decrypted.", "Admit the crypto zone again.") from None
