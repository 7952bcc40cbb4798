"""What a device configuration can be made of: algorithms with their caveats and keys, and container formats."""

from __future__ import annotations

from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.value import FrozenStruct


class AlgorithmInfo(FrozenStruct, frozen=True, kw_only=True):
    """``key_kinds``: of which a key must be one, the first is the one that is generated. ``caveats``: for a person."""

    key_kinds: tuple[KeyType, ...]
    caveats: tuple[str, ...]


class Capabilities(FrozenStruct, frozen=True, kw_only=True):
    """``formats``: the names of the container formats that are installed."""

    encryption: dict[EncryptionAlgorithm, AlgorithmInfo]
    signing: dict[SigningAlgorithm, AlgorithmInfo]
    formats: tuple[str, ...]


def load_capabilities() -> Capabilities:
    """Loads the container formats that are installed: not for a thread that must not wait."""
    from sealyard.containers.registry import all_formats
    from sealyard.crypto.catalogue import CIPHERS, SIGNATURES

    return Capabilities(
        encryption={
            name: AlgorithmInfo(key_kinds=(spec.key_kind,), caveats=spec.caveats) for name, spec in CIPHERS.items()
        },
        signing={
            name: AlgorithmInfo(key_kinds=spec.key_kinds, caveats=spec.caveats) for name, spec in SIGNATURES.items()
        },
        formats=tuple(each.name for each in all_formats()),
    )
