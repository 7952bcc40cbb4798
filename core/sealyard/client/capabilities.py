"""The algorithms and container formats that device configurations can use, and their limits."""

from __future__ import annotations

from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.base import FrozenStruct
from sealyard.model.device_configs import DeviceConfig


class AlgorithmInfo(FrozenStruct, frozen=True, kw_only=True):
    """Key types and caveats of an algorithm.

    ``key_kinds`` are the accepted key types; generated keys have the first one. ``caveats`` are texts for the user.
    """

    key_kinds: tuple[KeyType, ...]
    caveats: tuple[str, ...]


class Capabilities(FrozenStruct, frozen=True, kw_only=True):
    """The available algorithms, and the names of the installed container formats (``formats``)."""

    encryption: dict[EncryptionAlgorithm, AlgorithmInfo]
    signing: dict[SigningAlgorithm, AlgorithmInfo]
    formats: tuple[str, ...]


def load_capabilities() -> Capabilities:
    """Return the algorithms and container formats that are available.

    Blocks while the container formats are imported, so do not call it on an event loop.
    """
    from sealyard.containers.registry import all_formats
    from sealyard.crypto.algorithms import CIPHERS, SIGNATURES

    return Capabilities(
        encryption={
            name: AlgorithmInfo(key_kinds=(spec.key_kind,), caveats=spec.caveats) for name, spec in CIPHERS.items()
        },
        signing={
            name: AlgorithmInfo(key_kinds=spec.key_kinds, caveats=spec.caveats) for name, spec in SIGNATURES.items()
        },
        formats=tuple(container_format.name for container_format in all_formats()),
    )


FileSize = tuple[str, int]
"""A file's name and its size in bytes."""


def check_package(
    configuration: DeviceConfig, firmware: tuple[FileSize, ...], metadata: tuple[FileSize, ...] = ()
) -> tuple[str, ...]:
    """Check that the configuration's container format can hold a package of files with these names and sizes.

    Returns warnings for the user. The first call imports the installed container formats. Raises
    :class:`FormatLimitError` if the package exceeds a limit of the format, and :class:`NotFoundError` if the format is
    not installed.
    """
    from sealyard.containers.format import PackageLayout
    from sealyard.containers.registry import get_format
    from sealyard.crypto.algorithms import SIGNATURES

    layout = PackageLayout(
        encryption=configuration.encryption.algorithm,
        signing=configuration.signing.algorithm,
        # The engine checks the actual key; the size limits do not depend on the key type.
        signing_key_kind=SIGNATURES[configuration.signing.algorithm].default_key_kind,
        firmware=firmware,
        metadata=metadata,
    )
    return get_format(configuration.format).check(layout)


def check_message(algorithm: SigningAlgorithm, size: int) -> None:
    """Raise :class:`InvalidInputError` if signing tasks do not accept a message of ``size`` bytes."""
    from sealyard.crypto.algorithms import check_message_size

    check_message_size(algorithm, size)


def signs_digest(algorithm: SigningAlgorithm) -> bool:
    """Return whether a signing task takes a precomputed SHA-256 digest (32 bytes) instead of the message."""
    from sealyard.crypto.algorithms import SIGNATURES, SigningInput

    return SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST
