"""Keys that are derived from the master key of a workspace, so that they are stored nowhere."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealyard.model.base import SecretStruct
from sealyard.model.key_holder_messages import EngineKeys
from sealyard.model.zones import ZonePublicKeys

DERIVED_KEY_LENGTH = 32


class ZoneKeys(SecretStruct, frozen=True, kw_only=True):
    """The private keys of a crypto zone, raw: ``report_key`` is Ed25519, ``sealing_key`` X25519."""

    report_key: bytes
    sealing_key: bytes

    @property
    def public(self) -> ZonePublicKeys:
        report_key = Ed25519PrivateKey.from_private_bytes(self.report_key).public_key()
        sealing_key = X25519PrivateKey.from_private_bytes(self.sealing_key).public_key()
        return ZonePublicKeys(report_key=report_key.public_bytes_raw(), sealing_key=sealing_key.public_bytes_raw())


def derive_key(master_key: bytes, info: bytes) -> bytes:
    """Derive a key with HKDF-SHA256 (RFC 5869). ``info`` names its purpose, and makes it independent of other keys."""
    return HKDF(SHA256(), DERIVED_KEY_LENGTH, salt=None, info=info).derive(master_key)


def derive_engine_keys(master_key: bytes) -> EngineKeys:
    """Derive the keys that the engine uses itself."""
    return EngineKeys(
        store_key=derive_key(master_key, b"sealyard store 1"),
        link_key=derive_key(master_key, b"sealyard download links 1"),
        secrets_key=derive_key(master_key, b"sealyard secrets 1"),
        order_key=derive_key(master_key, b"sealyard zone orders 1"),
    )


def derive_zone_keys(master_key: bytes) -> ZoneKeys:
    """Derive the keys of a crypto zone, whose hosts share the master key."""
    return ZoneKeys(
        report_key=derive_key(master_key, b"sealyard zone reports 1"),
        sealing_key=derive_key(master_key, b"sealyard zone sealing 1"),
    )
