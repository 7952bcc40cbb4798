"""Check the length of messages that keys in tokens and key services sign.

Such a key can have a limit, for example 4,096 bytes in AWS KMS. The limit does not apply to algorithms for which the
key can sign a digest instead. Ed25519 and ML-DSA sign the message itself.
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from sealyard.crypto.algorithms import SIGNATURES
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.errors import InvalidKeyError
from sealyard.model.keys import KeyCapabilities


def check_message_limit(
    uri: str, capabilities: KeyCapabilities | UnsetType, algorithm: SigningAlgorithm, length: int, subject: str
) -> None:
    """Raise :class:`InvalidKeyError` if the key cannot sign ``length`` bytes with ``algorithm``.

    ``subject``: what is signed, for the error message, for example "message".
    """
    if capabilities is UNSET or capabilities.max_message_bytes is None or length <= capabilities.max_message_bytes:
        return
    if SIGNATURES[algorithm].hash in capabilities.digests:
        return
    raise InvalidKeyError(
        f"{uri} can sign at most {capabilities.max_message_bytes:,} bytes with {algorithm}; the {subject} has"
        f" {length:,}.",
        "Use a key of type EC_P256, which signs a digest, or a local key.",
    )
