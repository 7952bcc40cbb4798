"""Import keys from files: PEM, PKCS#12, and raw or hexadecimal AES keys.

Parsing is strict. Error messages are written for users, not copied from the parsers.
"""

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
_ACCEPTED_FILES_HINT = "Use a private key in PEM (PKCS#8, encrypted or not, PKCS#1, SEC 1) or a PKCS#12 file."
_HEX_PAIRS = re.compile(rb"([0-9A-Fa-f]{2})+")


def load_key(path: Path, kind: KeyType, password: str | None) -> tuple[Material, bytes | None]:
    """Load a key of the type ``kind``, and the certificate (PEM) that a PKCS#12 file contains with it, if any.

    Raises :class:`InvalidKeyError` if the file cannot be read, does not contain a key, contains a key of another type,
    or needs a password that is missing or wrong.
    """
    data = _read_file(path)
    if kind.symmetric:
        return _parse_symmetric(data, SYMMETRIC_KEY_LENGTHS[kind], kind), None
    key, certificate = _parse_private(data, password)
    actual_kind = key_type_of(key.public_key())
    assert isinstance(key, PrivateKey)
    if actual_kind is not kind:
        raise InvalidKeyError(
            f"The file contains a key of type {actual_kind}, not {kind}.", f"Import it as {actual_kind}."
        )
    return key, certificate


def load_certificate_file(path: Path) -> bytes:
    """Return the contents of a certificate file. :func:`sealyard.keys.material.describe` validates them.

    Raises :class:`InvalidKeyError` if the file cannot be read or is too large.
    """
    return _read_file(path)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_FILE_LIMIT + 1)
    except OSError as error:
        raise InvalidKeyError(f"Cannot read the file: {error.strerror}.", "Check its path and permissions.") from error
    if len(data) > _FILE_LIMIT:
        raise InvalidKeyError("The file is larger than any key or certificate.", _ACCEPTED_FILES_HINT)
    return data


def _parse_symmetric(data: bytes, length: int, kind: KeyType) -> bytes:
    hex_digits = _HEX_PAIRS.fullmatch(data.strip())
    # A file of hexadecimal digits is never used as raw bytes: the key would have only half the strength.
    key = bytes.fromhex(hex_digits[0].decode()) if hex_digits else data
    if len(key) != length:
        raise InvalidKeyError(
            f"The file does not contain a key of type {kind}.",
            f"Use exactly {length} raw bytes, or {2 * length} hexadecimal digits.",
        )
    return key


def _parse_private(data: bytes, password: str | None) -> tuple[PrivateKeyTypes, bytes | None]:
    password_bytes = None if password is None else password.encode("utf-8", "surrogateescape")
    # The error messages of the parsers are dropped, because they do not help users.
    try:
        if b"-----BEGIN" in data:
            return _parse_pem(data, password_bytes), None
        return _parse_pkcs12(data, password_bytes)
    except TypeError:
        raise InvalidKeyError("The key file is encrypted.", "Enter its password.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKeyError("Cannot read the key file, or the password is wrong.", _ACCEPTED_FILES_HINT) from None


def _parse_pem(data: bytes, password: bytes | None) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(data, password)
    except TypeError:
        # The parser rejects a password for an unencrypted key; ignore the password instead.
        return load_pem_private_key(data, None)


def _parse_pkcs12(data: bytes, password: bytes | None) -> tuple[PrivateKeyTypes, bytes | None]:
    key, certificate, _ = load_key_and_certificates(data, password)
    if key is None:
        raise InvalidKeyError("The PKCS#12 file does not contain a private key.", _ACCEPTED_FILES_HINT)
    return key, None if certificate is None else certificate.public_bytes(Encoding.PEM)
