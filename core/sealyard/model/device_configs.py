"""Device configurations: which keys and algorithms a package is made with, and under which terms."""

from __future__ import annotations

from datetime import datetime

from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.base import FrozenStruct

DEFAULT_FORMAT = "se-1"
DEFAULT_LINK_TTL = 24 * 3600
DEFAULT_RETENTION_SECONDS = 30 * 24 * 3600


class EncryptionKey(FrozenStruct, frozen=True, kw_only=True):
    """A reference to an encryption key: never the secret itself. ``uri`` like ``local:name``, ``version`` fixed."""

    algorithm: EncryptionAlgorithm
    uri: str
    version: int
    description: str = ""


class SigningKey(FrozenStruct, frozen=True, kw_only=True):
    """A reference to a signing key: never the secret itself. ``uri`` like ``local:name``, ``version`` fixed."""

    algorithm: SigningAlgorithm
    uri: str
    version: int
    description: str = ""


class DeviceConfig(FrozenStruct, frozen=True, kw_only=True):
    """One version of a device configuration; a version never changes. A task uses the first key of each list.

    ``link_ttl_seconds``: how long a result's link lives; ``retention_seconds``: how long its artifact is kept, from
    DONE. ``warnings``: the caveats of the algorithms and key purposes chosen, for a person to read.
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
        """Of all its keys."""
        return frozenset([each.uri for each in self.encryption_keys] + [each.uri for each in self.signing_keys])

    @property
    def signing(self) -> SigningKey:
        return self.signing_keys[0]
