"""Names of keys: ``local:gateway-sign``, ``pkcs11:token=seal;object=gateway-sign``.

A key URI is the scheme of a key provider, a colon, and the name of the key, whose form depends on the scheme. It never
contains a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
from sealyard.model.pkcs11_uris import parse_pkcs11_name

MAX_URI_LENGTH = 512
"""Maximum length of a key URI in characters."""

KEY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Names of local keys."""

LOCAL_SCHEME = "local"
"""The scheme of keys in the workspace."""

CERTIFICATE_SCHEME = "x509"
"""The scheme of references to certificates, which identify the keys of these certificates."""

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_SCHEME = re.compile(r"[a-z][a-z0-9]*")
_PRINTABLE_NAME = re.compile(r"[!-~]+")


class KeyUri(FrozenStruct, frozen=True, kw_only=True):
    """The name of a key and the scheme of the provider that stores it."""

    scheme: str
    name: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}"


def parse_key_uri(text: str) -> KeyUri:
    """Parse a key URI and return it in its canonical form.

    Names of other schemes than those of Sealyard must be printable ASCII without spaces; their provider checks the
    rest. Raises :class:`UsageError` if ``text`` is not a key URI. The message quotes names of local keys only: other
    names can contain a PIN or a token by mistake.
    """
    scheme, colon, name = text.partition(":")
    if not colon or not _SCHEME.fullmatch(scheme):
        raise UsageError("Invalid key URI: it does not start with a scheme.", "Use a URI like local:gateway-sign.")
    uri = KeyUri(scheme=scheme, name=_CANONICAL_NAMES.get(scheme, _check_printable)(name))
    if max(len(text), len(str(uri))) > MAX_URI_LENGTH:
        raise UsageError(f"A key URI can have at most {MAX_URI_LENGTH} characters.", "Shorten the name of the key.")
    return uri


def parse_certificate_reference(text: str) -> str | None:
    """Return the fingerprint in a reference to a certificate, ``x509:<SHA-256 in hex>``; None for other references.

    The fingerprint may have colons and upper-case letters, as OpenSSL prints it. Raises :class:`UsageError` if it is no
    SHA-256 fingerprint.
    """
    scheme, _, fingerprint = text.partition(":")
    if scheme != CERTIFICATE_SCHEME:
        return None
    fingerprint = fingerprint.replace(":", "").lower()
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise UsageError(
            "Invalid reference to a certificate: it has no SHA-256 fingerprint.",
            "Use x509: and the fingerprint of the certificate, 64 hexadecimal digits.",
        )
    return fingerprint


def _check_local_name(name: str) -> str:
    if not KEY_NAME.fullmatch(name):
        raise UsageError(
            f"Invalid key name {name[:80]!r}.",
            "Use a name like local:gateway-sign: lowercase letters, digits, '.', '_' and '-'.",
        )
    return name


def _check_printable(name: str) -> str:
    if not _PRINTABLE_NAME.fullmatch(name):
        raise UsageError(
            "Invalid key URI: the name of the key must be printable ASCII without spaces.",
            "Use the name that the provider of the key uses.",
        )
    return name


_CANONICAL_NAMES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {LOCAL_SCHEME: _check_local_name, "pkcs11": lambda name: str(parse_pkcs11_name(name))}
)
