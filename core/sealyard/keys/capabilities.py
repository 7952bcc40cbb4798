"""Capabilities of keys, derived from the catalogue of algorithms."""

from __future__ import annotations

from collections.abc import Iterable

from sealyard.crypto.algorithms import SIGNATURES, SignatureSpec
from sealyard.model.algorithms import HashName, KeyType
from sealyard.model.keys import KeyCapabilities


def describe_capabilities(kind: KeyType) -> KeyCapabilities:
    """Return the capabilities of a key whose bytes are in this process.

    It can sign with all algorithms of the catalogue for its type; AES-256 keys can wrap secrets.
    """
    specs = [spec for spec in SIGNATURES.values() if kind in spec.key_kinds]
    return KeyCapabilities(
        algorithms=tuple(spec.algorithm for spec in specs),
        digests=list_hashes(specs),
        can_wrap=kind is KeyType.AES_256,
        can_generate=True,
        can_rotate=True,
        can_import=True,
        can_export=kind.symmetric,
    )


def list_hashes(specs: Iterable[SignatureSpec]) -> tuple[HashName, ...]:
    """Return the hash functions of signature algorithms, each once."""
    return tuple(dict.fromkeys(spec.hash for spec in specs if spec.hash is not None))
