"""Writes key and certificate files as they come from other tools."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from sealyard.crypto.signatures import PrivateKey
from sealyard.model.algorithms import KeyType, SigningAlgorithm

PASSWORD = "a canary among passwords"
_RSA_BITS = {KeyType.RSA_2048: 2048, KeyType.RSA_3072: 3072, KeyType.RSA_4096: 4096}

ALGORITHMS = {
    KeyType.RSA_2048: (SigningAlgorithm.SHA256_PKCS_V15_2048,),
    KeyType.RSA_3072: (
        SigningAlgorithm.RSA_3072,
        SigningAlgorithm.SHA256_RSA_3072_PSS,
        SigningAlgorithm.SHA256_PKCS_V15_3072,
        SigningAlgorithm.SHA256_PSS,
        SigningAlgorithm.SHA512_PSS,
    ),
    KeyType.RSA_4096: (SigningAlgorithm.RSA_4096, SigningAlgorithm.SHA256_RSA_4096_PSS),
    KeyType.EC_P256: (SigningAlgorithm.ECC_NIST_P256, SigningAlgorithm.SHA256_ECDSA),
    KeyType.ED25519: (SigningAlgorithm.ED25519,),
    KeyType.ML_DSA_44: (SigningAlgorithm.ML_DSA_44,),
    KeyType.ML_DSA_65: (SigningAlgorithm.ML_DSA_65,),
    KeyType.ML_DSA_87: (SigningAlgorithm.ML_DSA_87,),
}
_ML_DSA_GENERATORS: dict[KeyType, Callable[[], PrivateKey]] = {
    KeyType.ML_DSA_44: mldsa.MLDSA44PrivateKey.generate,
    KeyType.ML_DSA_65: mldsa.MLDSA65PrivateKey.generate,
    KeyType.ML_DSA_87: mldsa.MLDSA87PrivateKey.generate,
}


@cache
def private_key(kind: KeyType) -> PrivateKey:
    """Return the same key in each call, because generating a 4096-bit RSA key is slow."""
    if kind in _RSA_BITS:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS[kind])
    if kind is KeyType.EC_P256:
        return ec.generate_private_key(ec.SECP256R1())
    if kind in _ML_DSA_GENERATORS:
        return _ML_DSA_GENERATORS[kind]()
    return ed25519.Ed25519PrivateKey.generate()


def certificate_for(
    key: PrivateKey,
    *,
    name: str = "company PKI",
    days: int = 365,
    start: datetime = datetime(2026, 1, 1, tzinfo=UTC),
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .sign(key, hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else None)
    )


def write_certificate(path: Path, key: PrivateKey, encoding: Encoding = Encoding.PEM) -> Path:
    path.write_bytes(certificate_for(key).public_bytes(encoding))
    return path


def write_pem(
    path: Path,
    key: PrivateKey | ec.EllipticCurvePrivateKey,
    password: str | None = None,
    layout: PrivateFormat = PrivateFormat.PKCS8,
) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, layout, _encryption(password)))
    return path


def write_pkcs12(path: Path, key: PrivateKey | None, password: str | None, *, certificate: bool = True) -> Path:
    assert not isinstance(key, mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey)
    own_certificate = certificate_for(key) if key is not None and certificate else None
    others = None if key is not None else [certificate_for(private_key(KeyType.ED25519))]
    path.write_bytes(
        pkcs12.serialize_key_and_certificates(b"name", key, own_certificate, others, _encryption(password))
    )
    return path


def _encryption(password: str | None) -> KeySerializationEncryption:
    return BestAvailableEncryption(password.encode()) if password else NoEncryption()
