"""Public information about keys: never their private or symmetric bytes."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec import UNSET, UnsetType

from sealyard.model.algorithms import HashName, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct

CERTIFICATE_EXPIRY_WARNING = timedelta(days=30)
"""How long before the expiry of a certificate users are warned."""

MAX_KEY_FILE_BYTES = 1024 * 1024
"""Maximum size of a file with keys or certificates."""


class WrappingKey(FrozenStruct, frozen=True, kw_only=True):
    """A version of a key in a token or key service that wraps other keys."""

    uri: str
    version: int


class KeyVersion(FrozenStruct, frozen=True, kw_only=True):
    """A version of a key. ``public_key`` and ``certificate`` (both PEM) are set only for signing keys.

    ``origin``: "generated", "imported", "registered" for a key that its token or service had already, or "renewed" for
    the key of an earlier version with a renewed certificate.

    ``fingerprint``: the SHA-256 (hex) of the DER SubjectPublicKeyInfo; for a symmetric key, the first 8 bytes (hex) of
    HMAC-SHA256(key, "sealyard key check"), which only serve to distinguish versions. If the key is in a token or
    service, its URI and ``native_id`` take the place of the unknown key.

    ``native_id``: the identifier of this version in its token or service; unset for local keys.

    ``wrapped_by``: the key in a token or service without which this local key cannot be used; unset if there is none.

    ``certificate_valid_from`` is unset in versions that were stored before it was recorded, and for symmetric keys. It
    is omitted from JSON then, because the JSON of a version is authenticated together with its key.
    """

    version: int
    created_at: datetime
    origin: str
    fingerprint: str
    public_key: str | None = None
    certificate: str | None = None
    certificate_expires_at: datetime | None = None
    certificate_valid_from: datetime | UnsetType = UNSET
    native_id: str | UnsetType = UNSET
    wrapped_by: WrappingKey | UnsetType = UNSET

    @property
    def is_generated(self) -> bool:
        """Whether the workspace generated the key and its certificate. Otherwise devices may rely on the issuer."""
        return self.origin == "generated"


class KeyCapabilities(FrozenStruct, frozen=True, kw_only=True):
    """What a key provider can do with a key. The provider reports it, and it is stored with the key.

    ``algorithms``: the signature algorithms of the key. ``digests``: the hash functions whose finished digests it can
    sign. ``max_message_bytes``: the longest message that it can sign, None if there is no limit of the provider.
    ``signatures_per_second``: the limit of a service, None if unknown.
    """

    algorithms: tuple[SigningAlgorithm, ...] = ()
    digests: tuple[HashName, ...] = ()
    max_message_bytes: int | None = None
    can_wrap: bool = False
    can_generate: bool = False
    can_rotate: bool = False
    can_import: bool = False
    can_export: bool = False
    signatures_per_second: float | None = None


class KeyInfo(FrozenStruct, frozen=True, kw_only=True):
    """A key as recorded in the workspace. The last of ``versions`` is the current one.

    ``created_by`` is empty in values from a key provider, which does not know the requesting subject.

    ``capabilities`` is unset in keys that were stored before it was recorded, and in values from a key provider, which
    reports it separately.
    """

    uri: str
    kind: KeyType
    purpose: KeyPurpose
    created_by: str = ""
    versions: tuple[KeyVersion, ...]
    capabilities: KeyCapabilities | UnsetType = UNSET

    @property
    def current(self) -> KeyVersion:
        return self.versions[-1]

    def version(self, version: int) -> KeyVersion | None:
        """Return the version with this number, or None if the key has no such version."""
        return next((candidate for candidate in self.versions if candidate.version == version), None)


class CertificateStatus(StrEnum):
    """Whether a certificate is valid, and will be for the next 30 days."""

    VALID = "valid"
    NOT_YET_VALID = "not yet valid"
    EXPIRING = "expiring"
    EXPIRED = "expired"


def certificate_status(version: KeyVersion, now: datetime) -> CertificateStatus:
    """Return the status of the version's certificate at ``now``; VALID if the version has no certificate.

    EXPIRING means that the certificate expires within :data:`CERTIFICATE_EXPIRY_WARNING`.
    """
    valid_from, expires_at = version.certificate_valid_from, version.certificate_expires_at
    if valid_from is not UNSET and now < valid_from:
        return CertificateStatus.NOT_YET_VALID
    if expires_at is None or expires_at > now + CERTIFICATE_EXPIRY_WARNING:
        return CertificateStatus.VALID
    return CertificateStatus.EXPIRED if now > expires_at else CertificateStatus.EXPIRING


def certificate_warning(info: KeyInfo, version: KeyVersion, now: datetime) -> str:
    """Return a warning unless the certificate of ``version`` is valid for the next 30 days; otherwise an empty string.

    A warning about the current version ends with advice. An imported or renewed certificate is from elsewhere: rotating
    the key would replace both by a self-signed certificate, which devices do not know.
    """
    status = certificate_status(version, now)
    if status is CertificateStatus.VALID:
        return ""
    subject = f"The certificate of {info.uri} version {version.version}"
    if status is CertificateStatus.NOT_YET_VALID:
        return f"{subject} is not valid before {version.certificate_valid_from:%Y-%m-%d %H:%M} UTC."
    verb = "expired" if status is CertificateStatus.EXPIRED else "expires"
    advice = "Rotate the key." if version.is_generated else "Import a renewed certificate."
    statement = f"{subject} {verb} on {version.certificate_expires_at:%Y-%m-%d} UTC."
    return f"{statement} {advice}" if version == info.current else statement
