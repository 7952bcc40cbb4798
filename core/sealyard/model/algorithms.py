"""Names of algorithms, hash functions, key types and key purposes, as the Sign & Encrypt (S&E) service uses them.

:mod:`sealyard.crypto.algorithms` implements the algorithms.
"""

from __future__ import annotations

from enum import StrEnum


class EncryptionAlgorithm(StrEnum):
    """The six encryption algorithms of the S&E service."""

    AES256_CBC_PKCS7_PAD = "AES256_CBC_PKCS7_PAD"
    AES128_CBC_PKCS7_PAD = "AES128_CBC_PKCS7_PAD"
    AES256_CBC_ZERO_BYTE_PAD = "AES256_CBC_ZERO_BYTE_PAD"
    AES256_ECB_ZERO_BYTE_PAD = "AES256_ECB_ZERO_BYTE_PAD"
    AES128_ECB_ZERO_BYTE_PAD = "AES128_ECB_ZERO_BYTE_PAD"
    AES128_CTR_NO_PAD = "AES128_CTR_NO_PAD"


class SigningAlgorithm(StrEnum):
    """The signature algorithms of the S&E service: six for its own keys, five for a third party's X.509 PKI.

    Sealyard adds ML-DSA (FIPS 204), which resists quantum computers.
    """

    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    ECC_NIST_P256 = "ECC_NIST_P256"
    ED25519 = "ED25519"
    SHA256_RSA_3072_PSS = "SHA256_RSA_3072_PSS"
    SHA256_RSA_4096_PSS = "SHA256_RSA_4096_PSS"
    SHA256_PKCS_V15_2048 = "SHA256_PKCS_V15_2048"
    SHA256_PKCS_V15_3072 = "SHA256_PKCS_V15_3072"
    SHA256_ECDSA = "SHA256_ECDSA"
    SHA256_PSS = "SHA256_PSS"
    SHA512_PSS = "SHA512_PSS"
    ML_DSA_44 = "ML_DSA_44"
    ML_DSA_65 = "ML_DSA_65"
    ML_DSA_87 = "ML_DSA_87"


X509_PKI_ALGORITHMS = frozenset(
    {
        SigningAlgorithm.SHA256_PKCS_V15_2048,
        SigningAlgorithm.SHA256_PKCS_V15_3072,
        SigningAlgorithm.SHA256_ECDSA,
        SigningAlgorithm.SHA256_PSS,
        SigningAlgorithm.SHA512_PSS,
    }
)
"""The algorithms with which the S&E service signs by the keys of a third party's X.509 PKI."""


class HashName(StrEnum):
    """Hash functions, by their names in :mod:`hashlib`."""

    SHA256 = "sha256"
    SHA512 = "sha512"


class KeyType(StrEnum):
    """The kind and size of a key."""

    AES_128 = "AES_128"
    AES_256 = "AES_256"
    RSA_2048 = "RSA_2048"
    RSA_3072 = "RSA_3072"
    RSA_4096 = "RSA_4096"
    EC_P256 = "EC_P256"
    ED25519 = "ED25519"
    ML_DSA_44 = "ML_DSA_44"
    ML_DSA_65 = "ML_DSA_65"
    ML_DSA_87 = "ML_DSA_87"

    @property
    def symmetric(self) -> bool:
        return self in (KeyType.AES_128, KeyType.AES_256)


class KeyPurpose(StrEnum):
    """What a signing key may sign.

    ``PACKAGE``: container headers. ``DATA``: the input of signing tasks. ``BOTH``: either. Signing tasks that take a
    digest instead of the message require a ``DATA`` key, because a digest could be that of a forged container header.
    """

    PACKAGE = "package"
    DATA = "data"
    BOTH = "both"
