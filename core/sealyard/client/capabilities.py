"""What a device configuration can be made of: algorithms with their caveats and keys, and container formats."""

from __future__ import annotations

from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct
from sealyard.model.device_configs import DeviceConfig


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
    from sealyard.crypto.algorithms import CIPHERS, SIGNATURES

    return Capabilities(
        encryption={
            name: AlgorithmInfo(key_kinds=(spec.key_kind,), caveats=spec.caveats) for name, spec in CIPHERS.items()
        },
        signing={
            name: AlgorithmInfo(key_kinds=spec.key_kinds, caveats=spec.caveats) for name, spec in SIGNATURES.items()
        },
        formats=tuple(each.name for each in all_formats()),
    )


FileSize = tuple[str, int]
"""A file's name and its size in bytes."""


def check_package(
    configuration: DeviceConfig, firmware: tuple[FileSize, ...], metadata: tuple[FileSize, ...] = ()
) -> tuple[str, ...]:
    """What the configuration's format warns of, for a person to read; the first call loads the installed formats.

    Raises :class:`FormatLimitError` where the format cannot hold it, :class:`NotFoundError` for an unknown format.
    """
    from sealyard.containers.format import PackageLayout
    from sealyard.containers.registry import get_format
    from sealyard.crypto.algorithms import SIGNATURES

    shape = PackageLayout(
        encryption=configuration.encryption.algorithm,
        signing=configuration.signing.algorithm,
        # The engine knows the very key and judges it; how much fits does not hang on it.
        signing_key_kind=SIGNATURES[configuration.signing.algorithm].default_key_kind,
        firmware=firmware,
        metadata=metadata,
    )
    return get_format(configuration.format).check(shape)


def check_message(algorithm: SigningAlgorithm, size: int) -> None:
    """Raises :class:`InvalidInputError` where no signing task takes a message of ``size`` bytes."""
    from sealyard.crypto.algorithms import check_message_size

    check_message_size(algorithm, size)


def signs_digest(algorithm: SigningAlgorithm) -> bool:
    """Whether a signing task hands in a finished SHA-256 of 32 bytes instead of the message."""
    from sealyard.crypto.algorithms import SIGNATURES, SigningInput

    return SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST
