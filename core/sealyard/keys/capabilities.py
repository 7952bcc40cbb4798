"""What keys can do whose bytes are in this process."""

from __future__ import annotations

from sealyard.crypto.algorithms import SIGNATURES
from sealyard.model.algorithms import KeyType
from sealyard.model.keys import KeyCapabilities


def describe_capabilities(kind: KeyType) -> KeyCapabilities:
    """Return the capabilities of a key of this type: all of the catalogue, and AES-256 keys can wrap secrets."""
    specs = [spec for spec in SIGNATURES.values() if kind in spec.key_kinds]
    return KeyCapabilities(
        algorithms=tuple(spec.algorithm for spec in specs),
        digests=tuple(dict.fromkeys(spec.hash for spec in specs if spec.hash is not None)),
        can_wrap=kind is KeyType.AES_256,
        can_generate=True,
        can_rotate=True,
        can_import=True,
        can_export=kind.symmetric,
    )
