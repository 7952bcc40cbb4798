"""Keys that people bring: PEM, PKCS#12, raw or hexadecimal AES, read strictly and refused in plain words."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates

from sealyard.crypto.algorithms import SYMMETRIC_KEY_LENGTHS
from sealyard.crypto.signatures import PrivateKey, key_type_of
from sealyard.keys.material import Material
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidKeyError

_FILE_LIMIT = 1024 * 1024
_ACCEPTED = "Accepted are private keys in PEM (PKCS#8, encrypted or not, PKCS#1, SEC 1) and PKCS#12 files."
_HEX_PAIRS = re.compile(rb"([0-9A-Fa-f]{2})+")


def load_key(path: Path, kind: KeyType, password: str | None) -> tuple[Material, bytes | None]:
    """The key in the file, and the certificate (PEM) that a PKCS#12 file has with it.

    Raises :class:`InvalidKeyError` where the file holds no key, or none of this ``kind``.
    """
    data = _read(path)
    if kind.symmetric:
        return _symmetric(data, SYMMETRIC_KEY_LENGTHS[kind], kind), None
    key, certificate = _private(data, password)
    found = key_type_of(key.public_key())
    assert isinstance(key, PrivateKey)
    if found is not kind:
        raise InvalidKeyError(f"The file holds a key of the kind {found}, not {kind}.", "Import it as what it is.")
    return key, certificate


def load_certificate_file(path: Path) -> bytes:
    """A certificate file as it is; :func:`sealyard.keys.material.describe` judges it."""
    return _read(path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise InvalidKeyError(f"The file cannot be read: {error.strerror}.", "Check its path and rights.") from error
    if len(data) > _FILE_LIMIT:
        raise InvalidKeyError("The file is larger than any key or certificate.", _ACCEPTED)
    return data


def _symmetric(data: bytes, length: int, kind: KeyType) -> bytes:
    digits = _HEX_PAIRS.fullmatch(data.strip())
    # A file of hexadecimal digits is never taken for raw bytes: that would be a key of half the strength.
    key = bytes.fromhex(digits[0].decode()) if digits else data
    if len(key) != length:
        raise InvalidKeyError(
            f"The file holds no key of the kind {kind}.",
            f"Accepted are exactly {length} raw bytes, or {2 * length} hexadecimal digits.",
        )
    return key


def _private(data: bytes, password: str | None) -> tuple[PrivateKeyTypes, bytes | None]:
    secret = None if password is None else password.encode("utf-8", "surrogateescape")
    # The libraries' own words are left out: they are of no help to a person.
    try:
        if b"-----BEGIN" in data:
            return _from_pem(data, secret), None
        return _from_pkcs12(data, secret)
    except TypeError:
        raise InvalidKeyError("The key file is encrypted.", "Give its password.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKeyError("The key file cannot be read, or the password is wrong.", _ACCEPTED) from None


def _from_pem(data: bytes, password: bytes | None) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(data, password)
    except TypeError:
        # A password that the file has no use for does no harm.
        return load_pem_private_key(data, None)


def _from_pkcs12(data: bytes, password: bytes | None) -> tuple[PrivateKeyTypes, bytes | None]:
    key, certificate, _ = load_key_and_certificates(data, password)
    if key is None:
        raise InvalidKeyError("The PKCS#12 file holds no private key.", _ACCEPTED)
    return key, None if certificate is None else certificate.public_bytes(Encoding.PEM)
