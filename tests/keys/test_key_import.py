"""Tests of the import of key files: which key and which certificate are taken, and what is rejected."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.crypto.certificates import compute_fingerprint
from sealyard.crypto.signatures import PrivateKey
from sealyard.keys.der import OCTET_STRING, SEQUENCE, encode_element, read_elements
from sealyard.keys.key_import import load_certificate_of, load_key
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidKeyError
from tests.support.authority import Authority, encode_chain
from tests.support.key_files import certificate_for, private_key, write_pkcs12

KEY = ec.derive_private_key(1001, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(1002, ec.SECP256R1())
EDWARDS_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
EC_P256 = KeyType.EC_P256
PASSWORD = "a canary among passwords"


def key_pem(key: PrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate_pem(key: PrivateKey, name: str = "leaf", days: int = 365) -> bytes:
    return certificate_for(key, name=name, days=days).public_bytes(Encoding.PEM)


LEAF, CA = certificate_pem(KEY), certificate_pem(EDWARDS_KEY, "CA")


def load(
    data: bytes, kind: KeyType = EC_P256, password: str | None = None, certificate: bytes | None = None
) -> tuple[str, str | None]:
    """Return the fingerprint of the imported key, and the common name of its certificate."""
    key, pem = load_key(data, kind, password, certificate)
    assert not isinstance(key, bytes)
    fingerprint = compute_fingerprint(key.public_key())
    if pem is None:
        return fingerprint, None
    parsed = x509.load_pem_x509_certificate(pem)
    assert compute_fingerprint(parsed.public_key()) == fingerprint
    return fingerprint, str(parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


FINGERPRINT, OTHER_FINGERPRINT = (compute_fingerprint(key.public_key()) for key in (KEY, OTHER_KEY))


# Certificates


@pytest.mark.parametrize("blocks", list(itertools.permutations([key_pem(KEY), LEAF, CA])))
def test_pem_with_key_yields_certificate_of_key_in_any_order(tmp_path: Path, blocks: tuple[bytes, ...]) -> None:
    assert load(b"Bag Attributes: a comment\n".join(blocks)) == (FINGERPRINT, "leaf")


@pytest.mark.parametrize("chain", [LEAF + CA, CA + LEAF, CA + CA + LEAF])
def test_certificate_file_is_a_chain_in_any_order(tmp_path: Path, chain: bytes) -> None:
    assert load(key_pem(KEY), certificate=chain) == (FINGERPRINT, "leaf")


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_certificate_file_is_pkcs7(tmp_path: Path, encoding: Encoding) -> None:
    certificates = [x509.load_pem_x509_certificate(pem) for pem in (CA, LEAF)]
    data = pkcs7.serialize_certificates(certificates, encoding)
    assert load(key_pem(KEY), certificate=data) == (FINGERPRINT, "leaf")


def test_newest_of_several_fitting_certificates_is_taken(tmp_path: Path) -> None:
    old, new = certificate_pem(KEY, "old", days=10), certificate_pem(KEY, "new", days=20)
    assert load(old + key_pem(KEY) + new) == (FINGERPRINT, "new")
    assert load(new + old + key_pem(KEY)) == (FINGERPRINT, "new")


def test_named_certificate_replaces_the_included_one(tmp_path: Path) -> None:
    named = certificate_pem(KEY, "named", days=1)
    assert load(key_pem(KEY) + LEAF, certificate=named) == (FINGERPRINT, "named")


@pytest.mark.parametrize("certificates", [CA, CA + CA, certificate_pem(OTHER_KEY)])
def test_certificates_of_other_keys_are_rejected(tmp_path: Path, certificates: bytes) -> None:
    with pytest.raises(InvalidKeyError, match="different key"):
        load(key_pem(KEY) + certificates)
    with pytest.raises(InvalidKeyError, match="different key"):
        load(key_pem(KEY), certificate=certificates)


def test_pkcs12_with_certificate_of_the_authority_only_is_rejected(tmp_path: Path) -> None:
    authority = x509.load_pem_x509_certificate(CA)
    data = pkcs12.serialize_key_and_certificates(b"name", KEY, None, [authority], NoEncryption())
    with pytest.raises(InvalidKeyError, match="different key"):
        load(data)


def test_key_without_certificates_is_imported(tmp_path: Path) -> None:
    assert load(key_pem(KEY)) == (FINGERPRINT, None)


def test_symmetric_key_with_certificate_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError, match="no certificate"):
        load(bytes(32), KeyType.AES_256, certificate=LEAF)


# Renewed certificates

ROOT = Authority("root")
AUTHORITY = Authority("authority", ROOT)
ISSUED = AUTHORITY.issue(KEY.public_key(), "leaf")
CHAIN = encode_chain(ISSUED, AUTHORITY.certificate)
"""The certificate of KEY and its issuer, without the root."""


def load_renewed(data: bytes) -> bytes:
    """Return the certificates of KEY and its issuers in ``data``."""
    return load_certificate_of(KEY.public_key(), data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (LEAF, LEAF),
        (encode_chain(ISSUED), encode_chain(ISSUED)),
        (CHAIN, CHAIN),
        (encode_chain(ROOT.certificate, AUTHORITY.certificate, ISSUED), CHAIN),
        (key_pem(KEY) + CHAIN, CHAIN),
        (key_pem(OTHER_KEY) + encode_chain(AUTHORITY.certificate, ISSUED), CHAIN),
        (ISSUED.public_bytes(Encoding.DER), encode_chain(ISSUED)),
        (pkcs7.serialize_certificates([AUTHORITY.certificate, ISSUED], Encoding.DER), CHAIN),
        (pkcs7.serialize_certificates([ROOT.certificate, AUTHORITY.certificate, ISSUED], Encoding.PEM), CHAIN),
    ],
)
def test_renewed_chain_is_ordered_and_without_root(data: bytes, expected: bytes) -> None:
    assert load_renewed(data) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (certificate_pem(KEY, "leaf", days=1), "expired on"),
        (LEAF + CA, 'does not need: "CA"'),
        (LEAF + certificate_pem(KEY, "older", days=10), "2 certificates of the key"),
        (encode_chain(ISSUED, ROOT.certificate), "has a gap"),
    ],
)
def test_renewed_chain_is_checked(data: bytes, message: str) -> None:
    with pytest.raises(InvalidKeyError, match=message):
        load_renewed(data)


def test_chain_is_checked_at_given_time() -> None:
    expired = certificate_pem(KEY, "leaf", days=1)
    valid_at = x509.load_pem_x509_certificate(expired).not_valid_after_utc
    assert load_certificate_of(KEY.public_key(), expired, valid_at) == expired


DER_BUNDLE = pkcs7.serialize_certificates([ROOT.certificate, AUTHORITY.certificate, ISSUED], Encoding.DER)


@settings(max_examples=500)
@given(st.integers(0, len(DER_BUNDLE) - 1), st.integers(1, 255))
def test_damaged_chain_raises_no_other_error(position: int, change: int) -> None:
    content = bytearray(DER_BUNDLE)
    content[position] ^= change
    for load_damaged in (load_renewed, lambda data: load_key(key_pem(KEY), EC_P256, None, data)):
        with suppress(InvalidKeyError):
            load_damaged(bytes(content))


@pytest.mark.parametrize("encoding", [Encoding.DER, Encoding.PEM])
def test_certificate_with_damaged_issuer_is_refused(encoding: Encoding) -> None:
    """The library parses names only when they are read."""
    der = AUTHORITY.certificate.public_bytes(Encoding.DER)
    assert der.count(b"\x0c\x04root") == 1
    damaged = x509.load_der_x509_certificate(der.replace(b"\x0c\x04root", b"\x0d\x04root"))
    data = pkcs7.serialize_certificates([damaged, ISSUED], encoding)
    with pytest.raises(InvalidKeyError, match="damaged certificate"):
        load_renewed(data)


def test_key_is_imported_with_its_chain() -> None:
    _, certificate = load_key(
        key_pem(KEY) + encode_chain(ROOT.certificate, AUTHORITY.certificate, ISSUED), EC_P256, None
    )
    assert certificate == CHAIN
    _, certificate = load_key(key_pem(KEY), EC_P256, None, CA + CHAIN)
    assert certificate == CHAIN


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (CA, "^The certificate belongs to a different key"),
        (CA + certificate_pem(OTHER_KEY), "^Each of the 2 certificates belongs to a different key"),
        (key_pem(KEY), r"no X\.509 certificate"),
        (b"", r"no X\.509 certificate"),
        (bytes(2 * 1024 * 1024), "larger than any key"),
    ],
)
def test_file_without_certificate_of_the_key_is_rejected(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InvalidKeyError, match=message):
        load_renewed(data)


def test_pkcs12_is_not_a_certificate_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError, match=r"no X\.509 certificate"):
        load_renewed(write_pkcs12(tmp_path / "p12", KEY, None).read_bytes())


# Several keys


@pytest.mark.parametrize("keys", [(KEY, EDWARDS_KEY), (EDWARDS_KEY, KEY)])
def test_key_of_the_requested_type_is_taken(tmp_path: Path, keys: tuple[PrivateKey, ...]) -> None:
    data = b"".join(map(key_pem, keys))
    assert load(data)[0] == FINGERPRINT
    assert load(data, KeyType.ED25519)[0] == compute_fingerprint(EDWARDS_KEY.public_key())


def test_unsupported_key_beside_is_ignored(tmp_path: Path) -> None:
    others = key_pem(ec.derive_private_key(7, ec.SECP384R1())) + key_pem(x25519.X25519PrivateKey.generate())
    assert load(others + key_pem(KEY))[0] == FINGERPRINT


def test_same_key_twice_is_not_ambiguous(tmp_path: Path) -> None:
    traditional = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert load(key_pem(KEY) + traditional)[0] == FINGERPRINT


@pytest.mark.parametrize(("key", "fingerprint"), [(KEY, FINGERPRINT), (OTHER_KEY, OTHER_FINGERPRINT)])
def test_certificate_selects_one_of_several_keys(tmp_path: Path, key: PrivateKey, fingerprint: str) -> None:
    data = key_pem(KEY) + key_pem(OTHER_KEY) + LEAF
    assert load(data, certificate=CA + certificate_pem(key, "chosen")) == (fingerprint, "chosen")


def test_ambiguous_keys_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError) as caught:
        load(key_pem(KEY) + key_pem(OTHER_KEY) + key_pem(EDWARDS_KEY) + LEAF)
    assert caught.value.message == (
        f"The file contains 2 keys of type EC_P256: {FINGERPRINT[:16]} (leaf);"
        f" {OTHER_FINGERPRINT[:16]} (without certificate)."
    )


def test_certificate_of_none_of_the_keys_is_ambiguous(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError, match="2 keys of type EC_P256"):
        load(key_pem(KEY) + key_pem(OTHER_KEY), certificate=CA)


def test_keys_of_other_types_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError, match=r"2 keys \(EC_P256, ED25519\), but none of type RSA_3072"):
        load(key_pem(KEY) + key_pem(EDWARDS_KEY), KeyType.RSA_3072)


def test_name_in_certificate_is_escaped(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError) as caught:
        load(key_pem(KEY) + key_pem(OTHER_KEY) + certificate_pem(KEY, "a\x1b[31m"))
    assert "\x1b" not in caught.value.message


# Length of EC keys


def encode_ec_key(number: bytes, *, pkcs8: bool, curve: bytes = bytes.fromhex("06082a8648ce3d030107")) -> bytes:
    """Encode a private key on ``curve`` with exactly the bytes ``number``."""
    start = b"\x02\x01\x01" + encode_element(OCTET_STRING, number)
    if not pkcs8:
        return encode_element(SEQUENCE, start + encode_element(0xA0, curve))
    algorithm = encode_element(SEQUENCE, bytes.fromhex("06072a8648ce3d0201") + curve)
    key = encode_element(OCTET_STRING, encode_element(SEQUENCE, start))
    return encode_element(SEQUENCE, b"\x02\x01\x00" + algorithm + key)


def to_pem(der: bytes, label: str) -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(der) + f"-----END {label}-----\n".encode()


NUMBERS = [
    b"\xc7" * 32,
    b"\x00" + b"\xc7" * 32,
    b"\x00" * 4 + b"\xc7" * 32,
    b"\x5a" * 31,
    b"\x00" + b"\x5a" * 31,
    b"\x05",
]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("pkcs8", [False, True])
@pytest.mark.parametrize("pem", [False, True])
def test_ec_key_of_any_length_is_imported(tmp_path: Path, number: bytes, pkcs8: bool, pem: bool) -> None:
    data = encode_ec_key(number, pkcs8=pkcs8)
    if pem:
        data = to_pem(data, "PRIVATE KEY" if pkcs8 else "EC PRIVATE KEY")
    expected = ec.derive_private_key(int.from_bytes(number, "big"), ec.SECP256R1())
    assert load(data)[0] == compute_fingerprint(expected.public_key())


@pytest.mark.parametrize("number", [b"", b"\x00", b"\x01" + b"\xc7" * 32, b"\xff" * 32])
@pytest.mark.parametrize("pkcs8", [False, True])
def test_invalid_ec_number_is_rejected(tmp_path: Path, number: bytes, pkcs8: bool) -> None:
    with pytest.raises(InvalidKeyError, match="Cannot read the key file"):
        load(encode_ec_key(number, pkcs8=pkcs8))


@pytest.mark.parametrize("pkcs8", [False, True])
def test_ec_key_on_another_curve_is_not_changed(tmp_path: Path, pkcs8: bool) -> None:
    with pytest.raises(InvalidKeyError):
        load(encode_ec_key(b"\x05" * 32, pkcs8=pkcs8, curve=bytes.fromhex("06052b81040022")))


CERTTOOL_KEY = b"""\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIIBBjBhBgkqhkiG9w0BBQ0wVDAzBgkqhkiG9w0BBQwwJgQTfBn/hnFQOVzdZ7FH
19qPB3CgcAIDCSfAMAoGCCqGSIb3DQIJMB0GCWCGSAFlAwQBAgQQhiqoXp1zu/gm
EXIu/0/0xgSBoNjjTsy7VI8ycw76oissknFlEbK1WppABNIANBECyTjCgpT7SFKN
UgyWF0IWx/Q7jvDWw8qIPNXkgIdk+NcFyrvDOU6ADXKaauG90PuZwqj8Hof5Lwb7
ju+yA6JgEgrI/ZRetOlYpnfecu2n8b7e8ZFv+qypDAaLovmtD+3jMqQvNXO1uTUK
+mqfKcGd+L2ItsTeKH4kcG0GPfmP+uQ4rB0=
-----END ENCRYPTED PRIVATE KEY-----
"""
"""A P-256 key with 33 bytes, encrypted with the password "secret" by certtool 3.7.9."""

CERTTOOL_FINGERPRINT = "94faae38137c19fff0d92439b092b1181b08d59bbeaa5b77ecd8108b35fe33fd"
"""The SHA-256 of its public key, as openssl writes it."""


def test_encrypted_ec_key_of_33_bytes_is_imported(tmp_path: Path) -> None:
    assert load(CERTTOOL_KEY, password="secret")[0] == CERTTOOL_FINGERPRINT
    der = base64.b64decode(b"".join(CERTTOOL_KEY.splitlines()[1:-1]))
    assert load(der, password="secret")[0] == CERTTOOL_FINGERPRINT
    with pytest.raises(InvalidKeyError, match="the password is wrong"):
        load(CERTTOOL_KEY, password="another")
    with pytest.raises(InvalidKeyError, match="is encrypted"):
        load(CERTTOOL_KEY)


@given(st.binary(max_size=60))
def test_read_elements_accepts_or_rejects_bytes(data: bytes) -> None:
    try:
        elements = read_elements(data)
    except ValueError:
        return
    assert sum(len(element.content) for element in elements) <= len(data)


# Other files


def public_key_file(encoding: Encoding) -> bytes:
    return KEY.public_key().public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def openssh_file() -> bytes:
    return EDWARDS_KEY.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def certificate_request() -> bytes:
    return x509.CertificateSigningRequestBuilder(x509.Name([])).sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("data", "contents"),
    [
        (lambda: public_key_file(Encoding.PEM), "a public key"),
        (lambda: public_key_file(Encoding.DER), "a public key"),
        (lambda: LEAF, "a certificate"),
        (lambda: certificate_for(KEY).public_bytes(Encoding.DER), "a certificate"),
        (lambda: LEAF + public_key_file(Encoding.PEM), "a certificate and a public key"),
        (openssh_file, "a key in the format of OpenSSH"),
        (certificate_request, "a certificate request"),
        (lambda: b"\xfe\xed\xfe\xed\x00\x00\x00\x02" + bytes(40), "a Java key store of the type JKS"),
    ],
)
@pytest.mark.parametrize("password", [None, PASSWORD])
def test_file_without_private_key_is_described(
    tmp_path: Path, data: Callable[[], bytes], contents: str, password: str | None
) -> None:
    with pytest.raises(InvalidKeyError, match=f"only {contents}\\.") as caught:
        load(data(), password=password)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("key", [KEY, EDWARDS_KEY, private_key(KeyType.RSA_2048)])
@pytest.mark.parametrize("encryption", [None, PASSWORD])
def test_der_key_is_imported(tmp_path: Path, key: PrivateKey, encryption: str | None) -> None:
    algorithm = BestAvailableEncryption(encryption.encode()) if encryption else NoEncryption()
    data = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, algorithm)
    kinds = {ec.EllipticCurvePrivateKey: EC_P256, ed25519.Ed25519PrivateKey: KeyType.ED25519}
    kind = next((kind for cls, kind in kinds.items() if isinstance(key, cls)), KeyType.RSA_2048)
    assert load(data, kind, PASSWORD)[0] == compute_fingerprint(key.public_key())


def test_missing_password_is_requested(tmp_path: Path) -> None:
    encryption = BestAvailableEncryption(PASSWORD.encode())
    files = [KEY.private_bytes(encoding, PrivateFormat.PKCS8, encryption) for encoding in (Encoding.PEM, Encoding.DER)]
    files.append(write_pkcs12(tmp_path / "p12", KEY, PASSWORD).read_bytes())
    for data in files:
        with pytest.raises(InvalidKeyError, match=r"is encrypted\. Enter its password\.$"):
            load(data)
        with pytest.raises(InvalidKeyError, match="the password is wrong"):
            load(data, password="another")


def test_damaged_file_is_not_blamed_on_the_password(tmp_path: Path) -> None:
    bundle = write_pkcs12(tmp_path / "p12", KEY, PASSWORD).read_bytes()
    for data in (bundle[:-10], key_pem(KEY)[:60], b"text", b""):
        with pytest.raises(InvalidKeyError, match=r"^Cannot read the key file\."):
            load(data)


def test_certificate_file_with_only_a_public_key_is_rejected(tmp_path: Path) -> None:
    for data in (public_key_file(Encoding.PEM), public_key_file(Encoding.DER), key_pem(KEY), b""):
        with pytest.raises(InvalidKeyError, match=r"no X\.509 certificate"):
            load(key_pem(KEY), certificate=data)


def test_unreadable_certificate_beside_is_ignored(tmp_path: Path) -> None:
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert load(broken + LEAF + key_pem(KEY)) == (FINGERPRINT, "leaf")


def test_expired_certificate_is_imported(tmp_path: Path) -> None:
    expired = certificate_pem(KEY, "expired", days=1)
    assert x509.load_pem_x509_certificate(expired).not_valid_after_utc < datetime.now(UTC) - timedelta(days=1)
    assert load(key_pem(KEY) + expired) == (FINGERPRINT, "expired")
