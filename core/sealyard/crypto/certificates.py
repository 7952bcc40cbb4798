"""X.509 certificates: read one, or sign one's own."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from sealyard.crypto.signatures import key_type_of
from sealyard.model.algorithms import KeyType
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import InvalidKeyError

COMMON_NAME_LIMIT = 64
"""Characters in a common name (RFC 5280, ``ub-common-name``)."""


class Certificate(FrozenStruct, frozen=True, kw_only=True):
    """What a verifier needs of a certificate. ``subject`` is its common name, or the whole name without one."""

    public_key: PublicKeyTypes
    kind: KeyType
    subject: str
    not_before: datetime  # UTC
    not_after: datetime  # UTC
    der: bytes


def load_certificate(data: bytes) -> Certificate:
    """Reads a certificate in PEM (the first one, where there are several) or DER.

    Raises :class:`InvalidKeyError` where it is none, or its key is of no kind of the catalogue.
    """
    try:
        found = _parse(data)
        public_key = found.public_key()
        subject = _name(found.subject)
        not_before, not_after = found.not_valid_before_utc, found.not_valid_after_utc
    except Exception as error:  # the parser raises more kinds than it documents
        raise InvalidKeyError(
            "This is no X.509 certificate.", "Give a certificate in PEM or DER, not a bare public key."
        ) from error
    return Certificate(
        public_key=public_key,
        kind=key_type_of(public_key),
        subject=subject,
        not_before=not_before,
        not_after=not_after,
        der=found.public_bytes(Encoding.DER),
    )


def create_self_signed(private_key: PrivateKeyTypes, common_name: str, now: datetime, years: int = 20) -> bytes:
    """A certificate, in PEM, for the key by the key itself, valid for ``years`` from ``now`` (aware).

    It begins a day earlier, for clocks of devices run slow.

    Raises :class:`InvalidKeyError` where the key is of no kind of the catalogue or the name has not 1 to 64
    characters.
    """
    public_key = private_key.public_key()
    key_type_of(public_key)
    if not isinstance(private_key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise AssertionError("the kind was checked")
    name = _common_name(common_name)
    start = now - timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(now + timedelta(days=years * 365 + years // 4))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private_key.public_key()), critical=False)
        .add_extension(_DIGITAL_SIGNATURE, critical=True)
    )
    algorithm = None if isinstance(private_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(private_key, algorithm).public_bytes(Encoding.PEM)


def compute_fingerprint(public_key: PublicKeyTypes) -> str:
    """SHA-256, in hex, of the DER SubjectPublicKeyInfo."""
    return hashlib.sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


_DIGITAL_SIGNATURE = x509.KeyUsage(
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


def _parse(data: bytes) -> x509.Certificate:
    if b"-----BEGIN" in data:
        return x509.load_pem_x509_certificate(data)
    return x509.load_der_x509_certificate(data)


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


def _common_name(text: str) -> x509.Name:
    if not 1 <= len(text) <= COMMON_NAME_LIMIT:
        raise InvalidKeyError(
            f"A certificate's common name has 1 to {COMMON_NAME_LIMIT} characters; this one has {len(text)}.",
            "Choose a shorter name.",
        )
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
