"""What may be known of a key: never its private or symmetric bytes."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError

CERTIFICATE_EXPIRY_WARNING = timedelta(days=30)
"""How long before a certificate ends people are told."""

KEY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class KeyUri(FrozenStruct, frozen=True, kw_only=True):
    """A key's name with the scheme of the provider that holds it: ``local:gateway-sign``."""

    scheme: str
    name: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}"


def parse_key_uri(text: str) -> KeyUri:
    """Raises :class:`UsageError` where ``text`` is not ``scheme:name``."""
    scheme, colon, name = text.partition(":")
    if not colon or not re.fullmatch(r"[a-z][a-z0-9]*", scheme) or not KEY_NAME.fullmatch(name):
        raise UsageError(
            f"{text[:80]!r} is not the name of a key.",
            "A key is named like local:gateway-sign: lower case letters, digits, '.', '_' and '-'.",
        )
    return KeyUri(scheme=scheme, name=name)


class KeyVersion(FrozenStruct, frozen=True, kw_only=True):
    """One version of a key. ``public_key`` and ``certificate`` are PEM and only there for signing keys.

    ``fingerprint`` is the SHA-256, in hex, of the DER SubjectPublicKeyInfo; for a symmetric key it is the
    first 8 bytes, in hex, of HMAC-SHA256(key, "sealyard key check"): it tells versions apart, nothing else.
    """

    version: int
    created_at: datetime
    origin: str  # "generated" or "imported"
    fingerprint: str
    public_key: str | None = None
    certificate: str | None = None
    certificate_expires_at: datetime | None = None


class KeyInfo(FrozenStruct, frozen=True, kw_only=True):
    """A key as the workspace records it: name, kind, purpose and versions, the last one current.

    A provider does not know who asked and leaves ``created_by`` empty.
    """

    uri: str
    kind: KeyType
    purpose: KeyPurpose
    created_by: str = ""
    versions: tuple[KeyVersion, ...]

    @property
    def current(self) -> KeyVersion:
        return self.versions[-1]

    def version(self, version: int) -> KeyVersion | None:
        return next((each for each in self.versions if each.version == version), None)


def expiring_versions(info: KeyInfo, now: datetime) -> tuple[KeyVersion, ...]:
    """The versions whose certificate ends within :data:`CERTIFICATE_EXPIRY_WARNING`, or has ended."""
    limit = now + CERTIFICATE_EXPIRY_WARNING
    return tuple(
        each
        for each in info.versions
        if each.certificate_expires_at is not None and each.certificate_expires_at <= limit
    )
