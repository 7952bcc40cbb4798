"""Generate and serialize key material in this process, and describe it without revealing it."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509 import load_der_x509_certificate
from msgspec import UNSET

from sealyard.crypto.algorithms import SYMMETRIC_KEY_LENGTHS
from sealyard.crypto.certificates import (
    compute_fingerprint,
    create_self_signed,
    describe_issuers,
    encode_public_key,
    load_certificate,
)
from sealyard.crypto.signatures import PrivateKey
from sealyard.crypto.signatures import key_type_of as public_key_type
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidKeyError
from sealyard.model.keys import KeyVersion

Material = bytes | PrivateKey
"""The bytes of a symmetric key, or a private key."""

_RSA_SIZES = {KeyType.RSA_2048: 2048, KeyType.RSA_3072: 3072, KeyType.RSA_4096: 4096}
_GENERATORS: dict[KeyType, Callable[[], PrivateKey]] = {
    KeyType.EC_P256: lambda: ec.generate_private_key(ec.SECP256R1()),
    KeyType.ED25519: ed25519.Ed25519PrivateKey.generate,
    KeyType.ML_DSA_44: mldsa.MLDSA44PrivateKey.generate,
    KeyType.ML_DSA_65: mldsa.MLDSA65PrivateKey.generate,
    KeyType.ML_DSA_87: mldsa.MLDSA87PrivateKey.generate,
}
_SYMMETRIC_KINDS = {length: kind for kind, length in SYMMETRIC_KEY_LENGTHS.items()}


def generate_key(kind: KeyType) -> Material:
    """Generate a key with the system's random number generator. RSA keys have the public exponent 65537."""
    if kind in SYMMETRIC_KEY_LENGTHS:
        return secrets.token_bytes(SYMMETRIC_KEY_LENGTHS[kind])
    if kind in _RSA_SIZES:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_SIZES[kind])
    return _GENERATORS[kind]()


def key_type_of(material: Material) -> KeyType:
    if isinstance(material, bytes):
        return _SYMMETRIC_KINDS[len(material)]
    return public_key_type(material.public_key())


def to_bytes(material: Material) -> bytes:
    """Return the bytes of a symmetric key, or a private key as PKCS#8 in DER (RFC 5958).

    The result is secret and not encrypted: the caller must encrypt it before storing it.
    """
    if isinstance(material, bytes):
        return material
    return material.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def from_bytes(kind: KeyType, data: bytes) -> Material:
    """Load a key from the result of :func:`to_bytes`. The caller must have authenticated ``data``."""
    if kind.symmetric:
        return data
    # The primes were checked when the key was generated or imported; another check takes 0.25 s for 4096 bits.
    key = load_der_private_key(data, password=None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, PrivateKey)
    return key


def describe(material: Material, version_number: int, origin: str, certificate: bytes | None) -> KeyVersion:
    """Return the public metadata of ``material`` as version ``version_number`` of its key.

    ``certificate`` (PEM or DER) is required for a private key and must be None for a symmetric key. In PEM, it may be
    followed by its issuers. The fingerprint of a symmetric key is a truncated HMAC with the key.

    Raises :class:`InvalidKeyError` if the certificate is invalid or belongs to another key.
    """
    if isinstance(material, bytes):
        fingerprint = compute_symmetric_fingerprint(material)
        return KeyVersion(version=version_number, created_at=datetime.now(UTC), origin=origin, fingerprint=fingerprint)
    assert certificate is not None
    return describe_public_key(material.public_key(), version_number, origin, certificate)


def describe_public_key(public_key: PublicKeyTypes, version_number: int, origin: str, certificate: bytes) -> KeyVersion:
    """Return the public metadata of a signing key as version ``version_number`` of its key.

    Raises :class:`InvalidKeyError` if the certificate (PEM or DER) is invalid or belongs to another key.
    """
    parsed_certificate = load_certificate(certificate)
    fingerprint = compute_fingerprint(public_key)
    if compute_fingerprint(parsed_certificate.public_key) != fingerprint:
        raise InvalidKeyError(
            "The certificate belongs to a different key.", "Use the certificate that was issued for this key, or none."
        )
    return KeyVersion(
        version=version_number,
        created_at=datetime.now(UTC),
        origin=origin,
        fingerprint=fingerprint,
        public_key=encode_public_key(public_key),
        certificate=_to_pem(parsed_certificate.der),
        certificate_expires_at=parsed_certificate.not_after,
        certificate_valid_from=parsed_certificate.not_before,
        issuers=describe_issuers(certificate) or UNSET,
    )


def compute_symmetric_fingerprint(key: bytes) -> str:
    """Return the truncated HMAC that :attr:`KeyVersion.fingerprint` of a symmetric key is."""
    return hmac.digest(key, b"sealyard key check", "sha256")[:8].hex()


def create_certificate(material: Material, subject: str) -> bytes | None:
    """Create a self-signed certificate (PEM) with the common name ``subject``. Returns None for a symmetric key."""
    if isinstance(material, bytes):
        return None
    return create_self_signed(material, subject, datetime.now(UTC))


def _to_pem(certificate: bytes) -> str:
    return load_der_x509_certificate(certificate).public_bytes(Encoding.PEM).decode()
