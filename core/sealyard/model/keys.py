"""Public information about keys: never their private or symmetric bytes."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError

CERTIFICATE_EXPIRY_WARNING = timedelta(days=30)
"""How long before the expiry of a certificate users are warned."""

KEY_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class KeyUri(FrozenStruct, frozen=True, kw_only=True):
    """The name of a key and the scheme of the provider that stores it: ``local:gateway-sign``."""

    scheme: str
    name: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.name}"


def parse_key_uri(text: str) -> KeyUri:
    """Parse a key URI. Raises :class:`UsageError` if ``text`` does not have the form ``scheme:name``."""
    scheme, colon, name = text.partition(":")
    if not colon or not re.fullmatch(r"[a-z][a-z0-9]*", scheme) or not KEY_NAME.fullmatch(name):
        raise UsageError(
            f"Invalid key name {text[:80]!r}.",
            "Use a name like local:gateway-sign: lowercase letters, digits, '.', '_' and '-'.",
        )
    return KeyUri(scheme=scheme, name=name)


class KeyVersion(FrozenStruct, frozen=True, kw_only=True):
    """A version of a key. ``public_key`` and ``certificate`` (both PEM) are set only for signing keys.

    ``fingerprint``: the SHA-256 (hex) of the DER SubjectPublicKeyInfo; for a symmetric key, the first 8 bytes (hex) of
    HMAC-SHA256(key, "sealyard key check"), which only serve to distinguish versions.
    """

    version: int
    created_at: datetime
    origin: str  # "generated" or "imported"
    fingerprint: str
    public_key: str | None = None
    certificate: str | None = None
    certificate_expires_at: datetime | None = None


class KeyInfo(FrozenStruct, frozen=True, kw_only=True):
    """A key as recorded in the workspace. The last of ``versions`` is the current one.

    ``created_by`` is empty in values from a key provider, which does not know the requesting subject.
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
        """Return the version with this number, or None if the key has no such version."""
        return next((candidate for candidate in self.versions if candidate.version == version), None)


def expiring_versions(info: KeyInfo, now: datetime) -> tuple[KeyVersion, ...]:
    """Return the versions whose certificate has expired or expires within :data:`CERTIFICATE_EXPIRY_WARNING`."""
    latest_expiry = now + CERTIFICATE_EXPIRY_WARNING
    return tuple(
        version
        for version in info.versions
        if version.certificate_expires_at is not None and version.certificate_expires_at <= latest_expiry
    )
