"""Public information about keys: never their private or symmetric bytes."""

from __future__ import annotations

from datetime import datetime

from msgspec import UNSET, UnsetType

from sealyard.model.algorithms import HashName, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import NotFoundError

MAX_KEY_FILE_BYTES = 1024 * 1024
"""Maximum size of a file with keys or certificates."""


class IssuerCertificate(FrozenStruct, frozen=True, kw_only=True):
    """A certificate (PEM) between that of a key and the root: the issuer of the key's certificate, or of its issuer.

    ``subject`` and ``issuer``: distinguished names (RFC 4514).
    """

    certificate: str
    subject: str
    issuer: str
    valid_from: datetime
    expires_at: datetime


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

    ``issuers``: the chain above the certificate without its root, the issuer of the certificate first. It is unset, and
    omitted from JSON, if the certificate was imported without a chain.
    """

    version: int
    created_at: datetime
    origin: str
    fingerprint: str
    public_key: str | None = None
    certificate: str | None = None
    certificate_expires_at: datetime | None = None
    certificate_valid_from: datetime | UnsetType = UNSET
    issuers: tuple[IssuerCertificate, ...] | UnsetType = UNSET
    native_id: str | UnsetType = UNSET
    wrapped_by: WrappingKey | UnsetType = UNSET

    @property
    def is_generated(self) -> bool:
        """Whether the workspace generated the key and its certificate. Otherwise devices may rely on the issuer."""
        return self.origin == "generated"

    @property
    def issuer_certificates(self) -> tuple[IssuerCertificate, ...]:
        """The issuers; empty if the certificate has no chain."""
        return () if self.issuers is UNSET else self.issuers

    @property
    def certificate_chain(self) -> tuple[str, ...]:
        """The certificate and its issuers (PEM, without the root); empty for symmetric keys."""
        certificates = () if self.certificate is None else (self.certificate,)
        return (*certificates, *(issuer.certificate for issuer in self.issuer_certificates))


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

    def require_version(self, version: int) -> KeyVersion:
        """Return the version with this number. Raises :class:`NotFoundError` if the key has no such version."""
        key_version = self.version(version)
        if key_version is None:
            raise NotFoundError(
                f"{self.uri} has no version {version}.", f"Use a version from 1 to {self.current.version}."
            )
        return key_version
