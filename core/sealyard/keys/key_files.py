"""Parse key and certificate files: PEM, DER and PKCS#12.

Error messages are written for users, not copied from the parsers.
"""

from __future__ import annotations

import base64
import re
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs7 import (
    load_der_pkcs7_certificates,
    load_pem_pkcs7_certificates,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12

from sealyard.keys.der import read_elements
from sealyard.keys.ec_encoding import normalize_ec_key
from sealyard.keys.pkcs12 import find_private_keys, is_pkcs12, wrap_encrypted_key
from sealyard.model.errors import InvalidKeyError

T = TypeVar("T")

ACCEPTED_FILES_HINT = "Use a private key in PEM or DER (PKCS#8, encrypted or not, PKCS#1, SEC 1) or a PKCS#12 file."

_PEM_START = b"-----BEGIN"
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)
_KEY_LABELS = (b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY", b"DSA PRIVATE KEY")
_OTHER_LABELS = {
    b"PUBLIC KEY": "a public key",
    b"RSA PUBLIC KEY": "a public key",
    b"CERTIFICATE REQUEST": "a certificate request",
    b"NEW CERTIFICATE REQUEST": "a certificate request",
    b"OPENSSH PRIVATE KEY": "a key in the format of OpenSSH",
    b"PGP PRIVATE KEY BLOCK": "an OpenPGP key",
}
_JAVA_KEY_STORE_START = b"\xfe\xed\xfe\xed"


class KeyFile(NamedTuple):
    """The contents of a key file. ``other``: descriptions of contents that are neither private key nor certificate."""

    private_keys: tuple[PrivateKeyTypes, ...] = ()
    certificates: tuple[x509.Certificate, ...] = ()
    other: tuple[str, ...] = ()


def parse_key_file(data: bytes, password: str | None) -> KeyFile:
    """Return all private keys and certificates of a file.

    Raises :class:`InvalidKeyError` if the file cannot be read, or needs a password that is missing or wrong.
    """
    password_bytes = None if password is None else password.encode("utf-8", "surrogateescape")
    if _PEM_START in data:
        key_file = _parse_pem(data, password_bytes)
    elif is_pkcs12(data):
        key_file = _parse_pkcs12(data, password_bytes)
    elif data.startswith(_JAVA_KEY_STORE_START):
        key_file = KeyFile(other=("a Java key store of the type JKS",))
    else:
        key_file = _parse_der(data, password_bytes)
    if not any(key_file):
        raise _unreadable_error()
    return key_file


def parse_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    """Return all certificates of a file in PEM or DER, including PKCS#7. Returns nothing if none can be read.

    Raises :class:`InvalidKeyError` if a certificate is damaged.
    """
    return _require_readable(_decode_certificates(data))


def _decode_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    if _PEM_START not in data:
        certificate = _parse_or_none(x509.load_der_x509_certificate, data)
        return (certificate,) if certificate else tuple(_parse_or_none(load_der_pkcs7_certificates, data) or ())
    certificates: list[x509.Certificate] = []
    for block in _PEM_BLOCK.finditer(data):
        if block[1] in (b"CERTIFICATE", b"X509 CERTIFICATE"):
            certificate = _parse_or_none(x509.load_pem_x509_certificate, block[0])
            certificates += [certificate] if certificate else []
        elif block[1] == b"PKCS7":
            certificates += _parse_or_none(load_pem_pkcs7_certificates, block[0]) or []
    return tuple(certificates)


def _require_readable(certificates: tuple[x509.Certificate, ...]) -> tuple[x509.Certificate, ...]:
    """Return the certificates after reading names and dates, which the library parses only when they are read.

    Raises :class:`InvalidKeyError` if one of them cannot be parsed.
    """
    for each in certificates:
        try:
            _ = each.subject, each.issuer, each.not_valid_before_utc, each.not_valid_after_utc
        except Exception as error:  # the parser raises undocumented exception types
            raise InvalidKeyError(
                "The file contains a damaged certificate.", "Use the certificate as its authority issued it."
            ) from error
    return certificates


def _parse_pem(data: bytes, password: bytes | None) -> KeyFile:
    blocks = list(_PEM_BLOCK.finditer(data))
    return KeyFile(
        tuple(_load_pem_key(block[0], block[2], password) for block in blocks if block[1] in _KEY_LABELS),
        parse_certificates(data),
        tuple(_OTHER_LABELS[block[1]] for block in blocks if block[1] in _OTHER_LABELS),
    )


def _load_pem_key(block: bytes, body: bytes, password: bytes | None) -> PrivateKeyTypes:
    der = _parse_or_none(base64.b64decode, b"".join(body.split())) or b""
    return _load_key(load_pem_private_key, block, password, der)


def _parse_der(data: bytes, password: bytes | None) -> KeyFile:
    certificates = parse_certificates(data)
    if certificates:
        return KeyFile(certificates=certificates)
    if _parse_or_none(load_der_public_key, data) is not None:
        return KeyFile(other=("a public key",))
    return KeyFile(private_keys=(_load_der_key(data, password),))


def _parse_pkcs12(data: bytes, password: bytes | None) -> KeyFile:
    try:
        bundle = load_pkcs12(data, password)
    except (ValueError, UnsupportedAlgorithm):
        raise _diagnose_pkcs12(data, password) from None
    encoded_keys = find_private_keys(data)
    keys: tuple[PrivateKeyTypes, ...] = () if bundle.key is None else (bundle.key,)
    if len(encoded_keys) > 1:  # the bundle contains only one of them
        keys = tuple(_load_der_key(key, password) for key in encoded_keys)
    bundle_certificates = ([bundle.cert] if bundle.cert else []) + bundle.additional_certs
    certificates = _require_readable(tuple(item.certificate for item in bundle_certificates))
    return KeyFile(keys, certificates, () if keys or certificates else ("an empty PKCS#12 store",))


def _diagnose_pkcs12(data: bytes, password: bytes | None) -> InvalidKeyError:
    """Return the error for a PKCS#12 file that cannot be opened with ``password``."""
    if _parse_or_none(read_elements, data) is None:
        return _unreadable_error()
    if password is None:
        return InvalidKeyError("The PKCS#12 file is encrypted.", "Enter its password.")
    return _unreadable_error(password)


# ---- keys


def _load_der_key(data: bytes, password: bytes | None) -> PrivateKeyTypes:
    return _load_key(load_der_private_key, data, password, data)


def _load_key(
    load: Callable[[bytes, bytes | None], PrivateKeyTypes], data: bytes, password: bytes | None, der: bytes
) -> PrivateKeyTypes:
    """Load a private key from ``data``, ignoring a password that it does not need.

    ``der``: the same key in DER, for EC keys whose encoding the parser does not accept.

    Raises :class:`InvalidKeyError` if the key cannot be parsed, or needs a password that is missing or wrong.
    """
    normalized = normalize_ec_key(der)
    try:
        if normalized is not None:
            return load_der_private_key(normalized, None)
        return load(data, password)
    except TypeError:
        if password is None:
            raise InvalidKeyError("The key file is encrypted.", "Enter its password.") from None
        # The parser rejects a password for an unencrypted key; ignore the password instead.
        return _load_key(load, data, None, der)
    except (ValueError, UnsupportedAlgorithm):
        key = None if password is None else _load_encrypted_ec_key(der, password)
        if key is None:
            raise _unreadable_error(password) from None
        return key


def _load_encrypted_ec_key(der: bytes, password: bytes) -> PrivateKeyTypes | None:
    """Load an encrypted EC key whose encoding may have any length. Returns None if that is not possible.

    The encoding cannot be repaired before decryption. The parser of PKCS#12 decrypts the same structure, and accepts
    such keys.
    """
    try:
        return load_pkcs12(wrap_encrypted_key(der), password).key
    except (ValueError, UnsupportedAlgorithm):
        return None


def _unreadable_error(password: bytes | None = None) -> InvalidKeyError:
    cause = "" if password is None else ", or the password is wrong"
    return InvalidKeyError(f"Cannot read the key file{cause}.", ACCEPTED_FILES_HINT)


def _parse_or_none(parse: Callable[[bytes], T], data: bytes) -> T | None:
    try:
        with warnings.catch_warnings(action="ignore"):  # about encodings that the parsers accept nevertheless
            return parse(data)
    except Exception:  # the parsers of certificates raise undocumented exception types
        return None
