"""Device configurations: how packages for a device are encrypted, signed, formatted and approved."""

from __future__ import annotations

from datetime import datetime

from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.base import FrozenStruct

DEFAULT_FORMAT = "se-1"
DEFAULT_LINK_TTL = 24 * 3600
DEFAULT_RETENTION_SECONDS = 30 * 24 * 3600


class EncryptionKey(FrozenStruct, frozen=True, kw_only=True):
    """A reference to one version of an encryption key, without the key itself. ``uri`` has the form ``local:name``."""

    algorithm: EncryptionAlgorithm
    uri: str
    version: int
    description: str = ""


class SigningKey(FrozenStruct, frozen=True, kw_only=True):
    """A reference to one version of a signing key, without the key itself. ``uri`` has the form ``local:name``."""

    algorithm: SigningAlgorithm
    uri: str
    version: int
    description: str = ""


class DeviceConfig(FrozenStruct, frozen=True, kw_only=True):
    """One immutable version of a device configuration. A task uses the first key of each list.

    ``link_ttl_seconds``: lifetime of a result's link. ``retention_seconds``: how long the artifact is stored after the
    task is DONE. ``warnings``: caveats of the chosen algorithms and key purposes, for display.
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

    @property
    def encryption(self) -> EncryptionKey:
        return self.encryption_keys[0]

    @property
    def key_uris(self) -> frozenset[str]:
        """The URIs of all keys of the configuration."""
        return frozenset([key.uri for key in self.encryption_keys] + [key.uri for key in self.signing_keys])

    @property
    def signing(self) -> SigningKey:
        return self.signing_keys[0]
