"""Keys that are derived from the master key of a workspace, so that they are stored nowhere."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealyard.model.key_holder_messages import EngineKeys

DERIVED_KEY_LENGTH = 32


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
