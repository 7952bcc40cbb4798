"""Import keys from the contents of files: PEM, DER, PKCS#12, and raw or hexadecimal AES keys.

Parsing is strict, except for the length of EC keys (see :mod:`sealyard.keys.ec_encoding`).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from sealyard.crypto.algorithms import SYMMETRIC_KEY_LENGTHS
from sealyard.crypto.certificate_chains import (
    MAX_CHAIN_LENGTH,
    Chain,
    build_chain,
    certificates_of,
    order_chain,
    require_certificate_of,
    without_root,
)
from sealyard.crypto.certificates import compute_fingerprint, format_name
from sealyard.crypto.signatures import PrivateKey, key_type_of
from sealyard.keys.key_files import ACCEPTED_FILES_HINT, KeyFile, parse_certificates, parse_key_file
from sealyard.keys.material import Material
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import InvalidKeyError
from sealyard.model.formatting import format_count
from sealyard.model.keys import MAX_KEY_FILE_BYTES
from sealyard.model.safe_text import escape_text

_HEX_PAIRS = re.compile(rb"([0-9A-Fa-f]{2})+")


def load_key(
    content: bytes, kind: KeyType, password: str | None, certificate: bytes | None = None
) -> tuple[Material, bytes | None]:
    """Load a key of the type ``kind`` and its certificate (PEM), which is None if there is none.

    ``content`` and ``certificate`` are contents of files. The certificate is the one that belongs to the key, wherever
    it is in ``certificate``, or in ``content`` if ``certificate`` is None; its issuers in the same file follow it. If
    ``content`` contains several keys, the certificate must identify one of them.

    Raises :class:`InvalidKeyError` if ``content`` needs a password that is missing or wrong, or does not contain such a
    key; if several keys match; or if there are certificates, but none belongs to the key.
    """
    _check_size(content)
    if kind.symmetric:
        if certificate is not None:
            raise InvalidKeyError("A symmetric key has no certificate.", "Import the key without the certificate.")
        return _parse_symmetric(content, SYMMETRIC_KEY_LENGTHS[kind], kind), None
    key_file = parse_key_file(content, password)
    certificates = key_file.certificates if certificate is None else _load_certificates(certificate)
    key = _select_key(_keys_of_type(key_file, kind), kind, certificates, identified=certificate is not None)
    # A self-signed certificate instead of one of another key would not be noticed before devices reject the packages.
    return key, _find_chain(key.public_key(), certificates) if certificates else None


def load_certificate_of(public_key: PublicKeyTypes, content: bytes, now: datetime | None = None) -> bytes:
    """Load the certificate of ``public_key`` and its issuers (PEM, in this order): PEM, DER or PKCS#7, in any order.

    Private keys in ``content`` and the certificate of the root are omitted. ``now``: when the certificates must be
    valid, by default the current time. Raises :class:`InvalidKeyError` if ``content`` is not a chain that
    :func:`sealyard.crypto.certificate_chains.build_chain` accepts.
    """
    return _to_pem(build_chain(public_key, _load_certificates(content), now or datetime.now(UTC)))


def _keys_of_type(key_file: KeyFile, kind: KeyType) -> tuple[PrivateKey, ...]:
    """Return the different keys of the type ``kind``. Raises :class:`InvalidKeyError` if there are none."""
    keys = {compute_fingerprint(key.public_key()): key for key in key_file.private_keys}
    if not keys:
        contents = dict.fromkeys((["a certificate"] if key_file.certificates else []) + [*key_file.other])
        raise InvalidKeyError(
            f"The file does not contain a private key in a supported format, only {' and '.join(contents)}.",
            ACCEPTED_FILES_HINT,
        )
    if len(keys) == 1:
        (key,) = keys.values()
        actual_kind = key_type_of(key.public_key())
        if actual_kind is not kind:
            raise InvalidKeyError(
                f"The file contains a key of type {actual_kind}, not {kind}.", f"Import it as {actual_kind}."
            )
    matches = tuple(key for key in keys.values() if isinstance(key, PrivateKey) and _type_name(key) == kind)
    if not matches:
        names = ", ".join(_type_name(key) for key in keys.values())
        raise InvalidKeyError(
            f"The file contains {format_count(len(keys), 'key')} ({names}), but none of type {kind}.",
            "Import one of these types.",
        )
    return matches


def _type_name(key: PrivateKeyTypes) -> str:
    try:
        return key_type_of(key.public_key())
    except InvalidKeyError:
        return "unsupported type"


def _select_key(
    keys: tuple[PrivateKey, ...], kind: KeyType, certificates: tuple[x509.Certificate, ...], *, identified: bool
) -> PrivateKey:
    """Return the only key, or the one to which a certificate belongs if the caller chose the certificates.

    Raises :class:`InvalidKeyError` if there are several such keys.
    """
    if len(keys) == 1:
        return keys[0]
    matches = [key for key in keys if certificates_of(key.public_key(), certificates)]
    if identified and len(matches) == 1:
        return matches[0]
    descriptions = "; ".join(_describe_key(key, certificates) for key in keys)
    raise InvalidKeyError(
        f"The file contains {len(keys)} keys of type {kind}: {descriptions}.",
        "Give the certificate of the key to import, or use a file with only this key.",
    )


def _describe_key(key: PrivateKey, certificates: tuple[x509.Certificate, ...]) -> str:
    fingerprint = compute_fingerprint(key.public_key())[:16]
    subjects = [format_name(certificate.subject) for certificate in certificates_of(key.public_key(), certificates)]
    return f"{fingerprint} ({escape_text(subjects[0], 80) if subjects else 'without certificate'})"


def _find_chain(public_key: PublicKeyTypes, certificates: tuple[x509.Certificate, ...]) -> bytes:
    """Return the certificate that belongs to ``public_key``, and its issuers (PEM).

    If there are several, the one that expires last is used. The certificates need not be valid now: a key is imported
    with the certificate that it has. Raises :class:`InvalidKeyError` if none belongs to it.
    """
    matches = require_certificate_of(public_key, certificates)
    return _to_pem(order_chain(max(matches, key=lambda match: match.not_valid_after_utc), certificates))


def _to_pem(chain: Chain) -> bytes:
    certificates = without_root(chain)[:MAX_CHAIN_LENGTH]
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


# ---- contents of files


def _load_certificates(content: bytes) -> tuple[x509.Certificate, ...]:
    _check_size(content)
    certificates = parse_certificates(content)
    if not certificates:
        raise InvalidKeyError(
            "The certificate file contains no X.509 certificate.",
            "Use a certificate in PEM or DER, not only a public key.",
        )
    return certificates


def _check_size(content: bytes) -> None:
    if len(content) > MAX_KEY_FILE_BYTES:
        raise InvalidKeyError("The file is larger than any key or certificate.", ACCEPTED_FILES_HINT)


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
