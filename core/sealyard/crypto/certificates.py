"""Parse and describe X.509 certificates, and create self-signed ones and certificate requests."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import (
    CertificateIssuerPrivateKeyTypes,
    CertificatePublicKeyTypes,
    PrivateKeyTypes,
    PublicKeyTypes,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from sealyard.crypto.signatures import PrivateKey, key_type_of
from sealyard.model.algorithms import KeyType
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import InvalidKeyError
from sealyard.model.keys import IssuerCertificate

COMMON_NAME_LIMIT = 64
"""Maximum number of characters in a common name (RFC 5280, ``ub-common-name``)."""


_PEM_START = b"-----BEGIN"


class Certificate(FrozenStruct, frozen=True, kw_only=True):
    """The parts of a certificate that verification needs.

    ``subject`` is the common name, or the whole distinguished name (RFC 4514) if there is no common name.
    """

    public_key: PublicKeyTypes
    kind: KeyType
    subject: str
    not_before: datetime  # UTC
    not_after: datetime  # UTC
    der: bytes


class CertificateDetails(FrozenStruct, frozen=True, kw_only=True):
    """The fields that identify a certificate in records.

    ``fingerprint``: SHA-256 (hex) of the DER encoding. ``issuer`` and ``subject``: distinguished names (RFC 4514).
    ``serial_number``: hexadecimal.
    """

    fingerprint: str
    subject: str
    issuer: str
    serial_number: str
    valid_from: datetime
    expires_at: datetime


def load_certificate(data: bytes) -> Certificate:
    """Parse a certificate in PEM or DER. If PEM data contains several certificates, the first one is used.

    Raises :class:`InvalidKeyError` if ``data`` is not a certificate, or its key type is not in the algorithm catalogue.
    """
    try:
        certificate = _parse_certificate(data)
        public_key = certificate.public_key()
        subject = format_name(certificate.subject)
        not_before, not_after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception as error:  # the parser raises undocumented exception types
        raise InvalidKeyError(
            "Not an X.509 certificate.", "Use a certificate in PEM or DER, not only a public key."
        ) from error
    return Certificate(
        public_key=public_key,
        kind=key_type_of(public_key),
        subject=subject,
        not_before=not_before,
        not_after=not_after,
        der=certificate.public_bytes(Encoding.DER),
    )


def describe_certificate(pem: str) -> CertificateDetails:
    """Return the identifying fields of a certificate that :func:`load_certificate` accepted before."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return CertificateDetails(
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        serial_number=f"{certificate.serial_number:x}",
        valid_from=certificate.not_valid_before_utc,
        expires_at=certificate.not_valid_after_utc,
    )


def describe_issuers(chain: bytes) -> tuple[IssuerCertificate, ...]:
    """Return the issuers in a chain: the certificates that follow the first one, if ``chain`` is PEM."""
    if _PEM_START not in chain:
        return ()
    return tuple(
        IssuerCertificate(
            certificate=issuer.public_bytes(Encoding.PEM).decode(),
            subject=issuer.subject.rfc4514_string(),
            issuer=issuer.issuer.rfc4514_string(),
            valid_from=issuer.not_valid_before_utc,
            expires_at=issuer.not_valid_after_utc,
        )
        for issuer in x509.load_pem_x509_certificates(chain)[1:]
    )


def create_certificate_request(private_key: CertificateIssuerPrivateKeyTypes, certificate: str) -> str:
    """Create a PKCS#10 certificate request (PEM, RFC 2986) for ``private_key``.

    It has the subject of ``certificate`` (PEM), the present certificate of the key.
    """
    builder = x509.CertificateSigningRequestBuilder().subject_name(load_subject(certificate))
    return builder.sign(private_key, _hash_algorithm(private_key)).public_bytes(Encoding.PEM).decode()


def load_subject(certificate: str) -> x509.Name:
    """Return the subject of a certificate (PEM) that :func:`load_certificate` accepted before."""
    return x509.load_pem_x509_certificate(certificate.encode()).subject


def create_self_signed(private_key: PrivateKeyTypes, common_name: str, now: datetime, years: int = 20) -> bytes:
    """Create a self-signed certificate (PEM, RFC 5280; RFC 9881 for ML-DSA), valid for ``years`` from ``now``.

    ``now`` is timezone-aware. The validity starts one day before ``now``, because device clocks may be slow.

    Raises :class:`InvalidKeyError` if the key type is not in the catalogue, or ``common_name`` does not have 1 to 64
    characters.
    """
    key_type_of(private_key.public_key())
    if not isinstance(private_key, PrivateKey):
        raise AssertionError("the key type was checked")
    builder = build_self_signed(private_key.public_key(), common_name, now, years)
    return builder.sign(private_key, _hash_algorithm(private_key)).public_bytes(Encoding.PEM)


def build_self_signed(
    public_key: CertificatePublicKeyTypes, common_name: str, now: datetime, years: int = 20
) -> x509.CertificateBuilder:
    """Return the unsigned certificate that :func:`create_self_signed` signs. Raises the same exceptions."""
    name = _create_x509_name(common_name)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=years * 365 + years // 4))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_DIGITAL_SIGNATURE_USAGE, critical=True)
    )


def compute_fingerprint(public_key: PublicKeyTypes) -> str:
    """Return the SHA-256 digest (hex) of the DER-encoded SubjectPublicKeyInfo of ``public_key``."""
    return hashlib.sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def encode_public_key(public_key: PublicKeyTypes) -> str:
    """Return the SubjectPublicKeyInfo of ``public_key`` (PEM)."""
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def format_name(name: x509.Name) -> str:
    """Return the common name, or the whole distinguished name (RFC 4514) if there is no common name."""
    common_names = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common_names[0].value) if common_names else name.rfc4514_string()


def _hash_algorithm(private_key: PrivateKeyTypes) -> hashes.SHA256 | None:
    """Return the hash algorithm for signing with ``private_key``; None if its signature scheme includes one."""
    return hashes.SHA256() if isinstance(private_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) else None


_DIGITAL_SIGNATURE_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _parse_certificate(data: bytes) -> x509.Certificate:
    if _PEM_START in data:
        return x509.load_pem_x509_certificate(data)
    return x509.load_der_x509_certificate(data)


def _create_x509_name(common_name: str) -> x509.Name:
    if not 1 <= len(common_name) <= COMMON_NAME_LIMIT:
        raise InvalidKeyError(
            f"A common name must have 1 to {COMMON_NAME_LIMIT} characters; this one has {len(common_name)}.",
            "Choose a shorter name.",
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
