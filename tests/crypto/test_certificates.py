"""Tests of loading certificates and of creating self-signed ones."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from sealyard.crypto.certificates import compute_fingerprint, create_self_signed, load_certificate
from sealyard.crypto.signatures import PrivateKey
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidKeyError

NOW = datetime(2026, 2, 28, 12, tzinfo=UTC)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (rsa.generate_private_key(65537, 2048), KeyType.RSA_2048),
        (EC_KEY, KeyType.EC_P256),
        (ed25519.Ed25519PrivateKey.generate(), KeyType.ED25519),
    ],
)
def test_self_signed_has_subject_and_validity(key: PrivateKey, kind: KeyType) -> None:
    pem = create_self_signed(key, "Gateway ß", NOW)
    certificate = load_certificate(pem)
    assert (certificate.kind, certificate.subject, certificate.public_key) == (kind, "Gateway ß", key.public_key())
    assert certificate.not_before < NOW
    assert timedelta(days=20 * 365) < certificate.not_after - NOW < timedelta(days=20 * 366)
    x509.load_pem_x509_certificate(pem).verify_directly_issued_by(x509.load_pem_x509_certificate(pem))
    assert load_certificate(certificate.der) == certificate


def test_self_signed_is_valid_for_years() -> None:
    certificate = load_certificate(create_self_signed(EC_KEY, "x", NOW, years=4))
    assert certificate.not_after == NOW + timedelta(days=4 * 365 + 1)


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_common_name_of_wrong_length_is_rejected(name: str) -> None:
    with pytest.raises(InvalidKeyError):
        create_self_signed(EC_KEY, name, NOW)


def test_load_uses_first_of_several_certificates() -> None:
    first, second = (create_self_signed(EC_KEY, name, NOW) for name in ("first", "second"))
    assert load_certificate(first + second).subject == "first"


def test_subject_without_common_name_is_full_name() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=EC_KEY.public_key(),
        serial_number=1,
        not_valid_before=NOW,
        not_valid_after=NOW,
    )
    assert load_certificate(builder.sign(EC_KEY, hashes.SHA256()).public_bytes(Encoding.DER)).subject == "O=Acme"


def test_unsupported_key_type_is_rejected() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(InvalidKeyError):
        create_self_signed(key, "x", NOW)


def test_bare_public_key_is_rejected() -> None:
    pem = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(InvalidKeyError):
        load_certificate(pem)


DER = load_certificate(create_self_signed(EC_KEY, "x", NOW)).der


@given(st.one_of(st.binary(), st.tuples(st.integers(0, len(DER) - 1), st.integers(1, 255))))
def test_arbitrary_bytes_load_or_are_rejected(data: bytes | tuple[int, int]) -> None:
    if isinstance(data, tuple):
        offset, flip = data
        data = DER[:offset] + bytes([DER[offset] ^ flip]) + DER[offset + 1 :]
    with suppress(InvalidKeyError):
        load_certificate(data)


def test_fingerprint_is_sha256_of_public_key() -> None:
    # RFC 8410, section 10.1: this key's SubjectPublicKeyInfo
    spki = bytes.fromhex("302a300506032b6570032100 19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1")
    key = ed25519.Ed25519PublicKey.from_public_bytes(spki[12:])
    assert compute_fingerprint(key) == hashlib.sha256(spki).hexdigest()
