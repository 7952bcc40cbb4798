"""Factories of keys, certificates and complete containers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sealyard.containers.format import PackageLayout
from sealyard.containers.se1.format import SE1Format
from sealyard.crypto.algorithms import CIPHERS, SIGNATURES, SYMMETRIC_KEY_LENGTHS
from sealyard.crypto.certificates import create_self_signed
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.pipeline import no_progress
from sealyard.crypto.protocols import ContentCipher
from sealyard.crypto.signatures import PrivateKey, sign
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CBC = EncryptionAlgorithm.AES256_CBC_PKCS7_PAD
ZERO_PADDED = EncryptionAlgorithm.AES256_CBC_ZERO_BYTE_PAD
ED25519 = SigningAlgorithm.ED25519
SE1_SIGNATURES = [
    (name, kind) for name, spec in SIGNATURES.items() if spec.number is not None for kind in spec.key_kinds
]
"""The signature algorithms that se-1 defines, with each type of key."""


def private_key(kind: KeyType, name: str = "own") -> PrivateKey:
    return _private_key(kind, name)


@cache
def _private_key(kind: KeyType, name: str) -> PrivateKey:
    """Return one key per kind and name, because generating an RSA key is slow."""
    match kind:
        case KeyType.EC_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(65537, int(kind.removeprefix("RSA_")))


@cache
def certificate(kind: KeyType, name: str = "own") -> bytes:
    return create_self_signed(private_key(kind, name), name, NOW)


def cipher_for(algorithm: EncryptionAlgorithm) -> AesCipher:
    return AesCipher(algorithm, b"k" * SYMMETRIC_KEY_LENGTHS[CIPHERS[algorithm].key_kind])


class ZeroPaddingAsPkcs7:
    """Encrypts with zero padding, but claims PKCS #7; for 17 bytes both have the same length."""

    algorithm = CBC
    encryptor = staticmethod(cipher_for(ZERO_PADDED).encryptor)
    decryptor = staticmethod(cipher_for(ZERO_PADDED).decryptor)


def now() -> datetime:
    return NOW


def predictable_random(name: str, length: int) -> bytes:
    """Implement :class:`sealyard.crypto.protocols.RandomSource` for tests."""
    return sha256(name.encode()).digest()[:length]


def make_layout(
    firmware: Sequence[bytes],
    metadata: Sequence[tuple[str, bytes]] = (),
    encryption: EncryptionAlgorithm = CBC,
    signing: SigningAlgorithm = ED25519,
    kind: KeyType | None = None,
) -> PackageLayout:
    return PackageLayout(
        encryption=encryption,
        signing=signing,
        signing_key_kind=kind or SIGNATURES[signing].default_key_kind,
        firmware=tuple((f"fw-{index}.bin", len(data)) for index, data in enumerate(firmware)),
        metadata=tuple((name, len(data)) for name, data in metadata),
    )


def sign_header(layout: PackageLayout, header: bytes) -> bytes:
    return sign(private_key(layout.signing_key_kind), layout.signing, header, prehashed=False)


def pack(
    firmware: Sequence[bytes],
    metadata: Sequence[tuple[str, bytes]] = (),
    encryption: EncryptionAlgorithm = CBC,
    signing: SigningAlgorithm = ED25519,
    kind: KeyType | None = None,
    cipher: ContentCipher | None = None,
) -> bytes:
    layout = make_layout(firmware, metadata, encryption, signing, kind)
    container_format, target = SE1Format(now), io.BytesIO()
    segments = [
        container_format.encrypt_segment(
            layout, index, io.BytesIO(data), target, cipher or cipher_for(encryption), predictable_random, no_progress
        )
        for index, data in enumerate(firmware)
    ]
    header = container_format.header(layout, segments, metadata)
    container_format.write_signature(layout, target, header, sign_header(layout, header))
    return target.getvalue()
