"""What a device configuration can be made of: algorithms with their caveats and keys, and container formats."""

from __future__ import annotations

from sealyard.model.algorithms import EncryptionAlgorithm, KeyKind, SigningAlgorithm
from sealyard.model.value import Value


class AlgorithmTerms(Value, frozen=True, kw_only=True):
    """``keyKinds``: of which a key must be one, the first is the one that is generated. ``caveats``: for a person."""

    key_kinds: tuple[KeyKind, ...]
    caveats: tuple[str, ...]


class Catalogues(Value, frozen=True, kw_only=True):
    """``formats``: the names of the container formats that are installed."""

    encryption: dict[EncryptionAlgorithm, AlgorithmTerms]
    signing: dict[SigningAlgorithm, AlgorithmTerms]
    formats: tuple[str, ...]


def read_catalogues() -> Catalogues:
    """Loads the container formats that are installed: not for a thread that must not wait."""
    from sealyard.containers.registry import container_formats
    from sealyard.crypto.catalogue import CIPHERS, SIGNATURES

    return Catalogues(
        encryption={
            name: AlgorithmTerms(key_kinds=(spec.key_kind,), caveats=spec.caveats) for name, spec in CIPHERS.items()
        },
        signing={
            name: AlgorithmTerms(key_kinds=spec.key_kinds, caveats=spec.caveats) for name, spec in SIGNATURES.items()
        },
        formats=tuple(each.name for each in container_formats()),
    )
