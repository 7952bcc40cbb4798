"""Device configurations: how packages for a device are encrypted, signed, formatted and approved."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from msgspec import UNSET, UnsetType

from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
from sealyard.model.keys import IssuerCertificate
from sealyard.model.safe_text import escape_text

DEFAULT_FORMAT = "se-1"
DEFAULT_LINK_TTL = 24 * 3600
DEFAULT_RETENTION_SECONDS = 30 * 24 * 3600


class EncryptionKey(FrozenStruct, frozen=True, kw_only=True):
    """A reference to one version of an encryption key, without the key itself.

    ``uri`` is a key URI (:mod:`sealyard.model.key_uris`). ``name`` and ``description`` are texts of the
    configuration, for display.
    """

    algorithm: EncryptionAlgorithm
    uri: str
    version: int
    name: str = ""
    description: str = ""


class SigningKey(FrozenStruct, frozen=True, kw_only=True):
    """A reference to one version of a signing key, without the key itself.

    ``uri`` is a key URI (:mod:`sealyard.model.key_uris`). ``name`` and ``description`` are texts of the
    configuration, for display.
    """

    algorithm: SigningAlgorithm
    uri: str
    version: int
    name: str = ""
    description: str = ""


class KeyRole(StrEnum):
    """What a device configuration uses a key for."""

    ENCRYPTION = "encryption"
    SIGNING = "signing"


class DeviceCertificate(FrozenStruct, frozen=True, kw_only=True):
    """The certificate (PEM) of a key of a device configuration. ``version`` is that of the key at ``uri``.

    ``issuers``: the chain above the certificate without its root, the issuer of the certificate first.
    """

    kind: KeyRole
    name: str
    uri: str
    version: int
    algorithm: str
    certificate: str
    issuers: tuple[IssuerCertificate, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.uri} v{self.version}"

    @property
    def pem(self) -> str:
        """The certificate and its issuers."""
        certificates = (self.certificate, *(issuer.certificate for issuer in self.issuers))
        return "".join(text if text.endswith("\n") else f"{text}\n" for text in certificates)


class CertificateSummary(FrozenStruct, frozen=True, kw_only=True):
    """A certificate, for display. ``subject`` and ``issuer``: distinguished names (RFC 4514)."""

    subject: str
    issuer: str
    valid_from: datetime
    expires_at: datetime


class KeyChain(FrozenStruct, frozen=True, kw_only=True):
    """The certificate of a signing key of a device configuration and its issuers without the root, in this order."""

    uri: str
    version: int
    certificates: tuple[CertificateSummary, ...]


class DeviceConfig(FrozenStruct, frozen=True, kw_only=True):
    """One immutable version of a device configuration.

    A task uses the first key of each list, but an encryption task may name another encryption key.

    ``link_ttl_seconds``: lifetime of a result's link. ``retention_seconds``: how long the artifact is stored after the
    task is DONE. ``warnings``: caveats of the chosen algorithms and key purposes, for display. ``chains``: the
    certificates of the signing keys, for display; never stored. Lists omit those of generated keys.
    """

    id: str
    version: int
    name: str
    encryption_keys: tuple[EncryptionKey, ...]
    signing_keys: tuple[SigningKey, ...]
    format: str
    approvals_required: int
    link_ttl_seconds: int
    retention_seconds: int
    created_by: str
    created_at: datetime
    description: str = ""
    warnings: tuple[str, ...] = ()
    chains: tuple[KeyChain, ...] | UnsetType = UNSET

    def find_chain(self, key: EncryptionKey | SigningKey) -> KeyChain | None:
        """Return the chain of the certificate of ``key``; None if it has no certificate, or if it is not known."""
        chains = () if self.chains is UNSET else self.chains
        return next((chain for chain in chains if (chain.uri, chain.version) == (key.uri, key.version)), None)

    @property
    def encryption(self) -> EncryptionKey:
        return self.encryption_keys[0]

    @property
    def signing(self) -> SigningKey:
        return self.signing_keys[0]

    @property
    def keys(self) -> tuple[EncryptionKey | SigningKey, ...]:
        """All keys, encryption keys first."""
        return (*self.encryption_keys, *self.signing_keys)

    @property
    def key_uris(self) -> frozenset[str]:
        """The URIs of all keys of the configuration."""
        return frozenset(key.uri for key in self.keys)

    def find_encryption_key(self, name: str) -> EncryptionKey:
        """Return the encryption key with this name or URI.

        Raises :class:`UsageError` if the configuration has no such key, or more than one.
        """
        keys = [key for key in self.encryption_keys if name in (key.name, key.uri)]
        if len(keys) == 1:
            return keys[0]
        problem = "has more than one encryption key" if keys else "has no encryption key"
        known_names = ", ".join(escape_text(key.name or key.uri, 100) for key in self.encryption_keys)
        raise UsageError(f"{self.name} {problem} {escape_text(name, 100)!r}.", f"Use one of: {known_names}.")
