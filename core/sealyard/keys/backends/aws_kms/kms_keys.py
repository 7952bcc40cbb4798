"""Keys as AWS KMS describes them: their types, states and algorithms."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sealyard.crypto.algorithms import SIGNATURES, SignatureScheme, SignatureSpec
from sealyard.keys.capabilities import list_hashes
from sealyard.model.algorithms import HashName, KeyType
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import InvalidKeyError
from sealyard.model.keys import KeyCapabilities

MAX_MESSAGE_BYTES = 4096
"""Maximum size of a message that KMS hashes itself, which it does for Ed25519 and ML-DSA."""

SIGN = "SIGN_VERIFY"
ENCRYPT = "ENCRYPT_DECRYPT"

KEY_SPECS: Mapping[KeyType, str] = MappingProxyType(
    {
        KeyType.AES_256: "SYMMETRIC_DEFAULT",
        KeyType.RSA_2048: "RSA_2048",
        KeyType.RSA_3072: "RSA_3072",
        KeyType.RSA_4096: "RSA_4096",
        KeyType.EC_P256: "ECC_NIST_P256",
        KeyType.ED25519: "ECC_NIST_EDWARDS25519",
        KeyType.ML_DSA_44: "ML_DSA_44",
        KeyType.ML_DSA_65: "ML_DSA_65",
        KeyType.ML_DSA_87: "ML_DSA_87",
    }
)
"""The types of keys that can be used, by the names of KMS."""

_KEY_TYPES = {spec: kind for kind, spec in KEY_SPECS.items()}
_HASHES = {HashName.SHA256: "SHA_256", HashName.SHA512: "SHA_512"}
_ENABLED = "Enabled"
_STATES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Disabled": ("is disabled", "Enable it in AWS KMS."),
        "PendingDeletion": ("is pending deletion", "Cancel its deletion in AWS KMS while that is possible."),
        "PendingReplicaDeletion": ("is pending deletion", "Use another key."),
        "PendingImport": ("has no key material yet", "Import its key material."),
    }
)
"""The problem and the hint in the error for a key in each state."""


class KmsKey(FrozenStruct, frozen=True, kw_only=True):
    """A key of a supported type and usage."""

    arn: str
    kind: KeyType
    state: str
    origin: str
    is_multi_region: bool
    signing_algorithms: tuple[str, ...]

    def require_enabled(self, uri: str) -> None:
        """Raise :class:`InvalidKeyError` if the key cannot be used in its state."""
        if self.state == _ENABLED:
            return
        problem, hint = _STATES.get(self.state, (f"cannot be used (state {self.state})", "See its state in AWS KMS."))
        raise InvalidKeyError(f"The key {uri} {problem}.", hint)

    def describe_capabilities(self, *, can_rotate: bool, signatures_per_second: float | None) -> KeyCapabilities:
        specs = [
            spec
            for spec in SIGNATURES.values()
            if self.kind in spec.key_kinds and signing_algorithm(spec) in self.signing_algorithms
        ]
        hashes = list_hashes(specs)
        return KeyCapabilities(
            algorithms=tuple(spec.algorithm for spec in specs),
            digests=hashes,
            max_message_bytes=MAX_MESSAGE_BYTES if specs and not hashes else None,
            can_wrap=self.kind is KeyType.AES_256,
            can_generate=True,
            can_rotate=can_rotate,
            signatures_per_second=signatures_per_second if specs else None,
        )


def read_kms_key(metadata: Mapping[str, Any]) -> KmsKey | None:
    """Return the key, or None if it is of another type or usage, or managed by AWS."""
    kind = _KEY_TYPES.get(metadata.get("KeySpec", ""))
    if kind is None or metadata.get("KeyManager") == "AWS":
        return None
    if metadata.get("KeyUsage") != key_usage(kind):
        return None
    return KmsKey(
        arn=metadata["Arn"],
        kind=kind,
        state=metadata.get("KeyState", ""),
        origin=metadata.get("Origin", ""),
        is_multi_region=metadata.get("MultiRegion", False),
        signing_algorithms=tuple(metadata.get("SigningAlgorithms", ())),
    )


def key_usage(kind: KeyType) -> str:
    return ENCRYPT if kind.symmetric else SIGN


def signing_algorithm(spec: SignatureSpec) -> str:
    """Return the name of the algorithm in KMS."""
    match spec.scheme:
        case SignatureScheme.ED25519:
            return "ED25519_SHA_512"
        case SignatureScheme.ML_DSA:
            return "ML_DSA_SHAKE_256"
    assert spec.hash is not None
    schemes = {
        SignatureScheme.PSS: "RSASSA_PSS",
        SignatureScheme.PKCS1_V15: "RSASSA_PKCS1_V1_5",
        SignatureScheme.ECDSA: "ECDSA",
    }
    return f"{schemes[spec.scheme]}_{_HASHES[spec.hash]}"
