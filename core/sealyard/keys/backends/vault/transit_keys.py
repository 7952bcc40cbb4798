"""Keys as the Transit secrets engine describes them: their types, versions and public keys."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from sealyard.crypto.algorithms import SignatureScheme, SignatureSpec
from sealyard.crypto.certificates import encode_public_key
from sealyard.keys.capabilities import describe_capabilities
from sealyard.model.algorithms import HashName, KeyType
from sealyard.model.backend_keys import BackendKey
from sealyard.model.errors import KeyProviderError, NotFoundError

TRANSIT_TYPES: Mapping[KeyType, str] = MappingProxyType(
    {
        KeyType.AES_256: "aes256-gcm96",
        KeyType.RSA_2048: "rsa-2048",
        KeyType.RSA_3072: "rsa-3072",
        KeyType.RSA_4096: "rsa-4096",
        KeyType.EC_P256: "ecdsa-p256",
        KeyType.ED25519: "ed25519",
        KeyType.ML_DSA_44: "mldsa-44",
        KeyType.ML_DSA_65: "mldsa-65",
        KeyType.ML_DSA_87: "mldsa-87",
    }
)
"""The types of keys that can be used, by the names of Transit. Vault's edition of ML-DSA has other names."""

_KEY_TYPES = {name: kind for kind, name in TRANSIT_TYPES.items()}
_RAW_KEY_LOADERS: Mapping[KeyType, Callable[[bytes], PublicKeyTypes]] = MappingProxyType(
    {
        KeyType.ED25519: ed25519.Ed25519PublicKey.from_public_bytes,
        KeyType.ML_DSA_44: mldsa.MLDSA44PublicKey.from_public_bytes,
        KeyType.ML_DSA_65: mldsa.MLDSA65PublicKey.from_public_bytes,
        KeyType.ML_DSA_87: mldsa.MLDSA87PublicKey.from_public_bytes,
    }
)
_HASHES = {HashName.SHA256: "sha2-256", HashName.SHA512: "sha2-512"}
_VERSIONED_VALUE = re.compile(r"vault:v(\d+):([A-Za-z0-9+/]*={0,2})")


class _Key(msgspec.Struct, frozen=True):
    type: str
    latest_version: int
    keys: dict[str, Any]
    derived: bool = False
    soft_deleted: bool = False


class TransitKey(msgspec.Struct, frozen=True):
    """A key of a supported type. ``versions``: its public values by version; the oldest ones may be disabled."""

    uri: str
    kind: KeyType
    latest_version: str
    versions: Mapping[str, Any]

    def require_version(self, native_id: str) -> None:
        """Raise :class:`NotFoundError` if the version does not exist, or is disabled."""
        if native_id not in self.versions:
            raise NotFoundError(
                f"The key {self.uri} has no version {native_id[:20]!r}.",
                "If the version is older than its min_decryption_version, lower that setting of the key.",
            )

    def describe(self) -> BackendKey:
        """Return the newest version."""
        values = self.versions.get(self.latest_version)
        is_signing_key = not self.kind.symmetric
        try:
            return BackendKey(
                native_id=self.latest_version,
                kind=self.kind,
                public_key=_read_public_key(self.kind, values) if is_signing_key else None,
                certificate=_read_certificate(values) if is_signing_key else None,
                capabilities=msgspec.structs.replace(
                    describe_capabilities(self.kind), can_import=False, can_export=False
                ),
            )
        except (ValueError, TypeError, KeyError, UnsupportedAlgorithm) as error:
            raise KeyProviderError(f"The public key of {self.uri} cannot be read ({type(error).__name__}).") from None


def read_transit_key(uri: str, data: Mapping[str, Any] | None) -> TransitKey | None:
    """Return the key, or None if its type is not supported.

    Keys that derive other keys from a context are not supported either. Raises :class:`NotFoundError` if the key was
    deleted and can still be restored.
    """
    try:
        key = msgspec.convert(data, _Key)
    except msgspec.ValidationError:
        raise KeyProviderError(f"The description of the key {uri} cannot be read.") from None
    if key.soft_deleted:
        raise NotFoundError(f"The key {uri} was deleted.", "Restore it, or use another key.")
    kind = _KEY_TYPES.get(key.type)
    if kind is None or key.derived:
        return None
    return TransitKey(uri, kind, str(key.latest_version), key.keys)


def signing_parameters(spec: SignatureSpec, *, prehashed: bool) -> dict[str, Any]:
    """Return the parameters of the request to sign.

    Ed25519 and ML-DSA keys never get ``prehashed``: it selects another signature scheme, or is ignored.
    """
    parameters: dict[str, Any] = {}
    if spec.hash is not None:
        parameters = {"hash_algorithm": _HASHES[spec.hash], "prehashed": prehashed}
    match spec.scheme:
        case SignatureScheme.PSS:
            return {**parameters, "signature_algorithm": "pss", "salt_length": "hash"}
        case SignatureScheme.PKCS1_V15:
            return {**parameters, "signature_algorithm": "pkcs1v15"}
        case SignatureScheme.ECDSA:
            return {**parameters, "marshaling_algorithm": "asn1"}
        case _:
            return parameters


def format_versioned_value(native_id: str, value: bytes) -> str:
    """Return the text form of a ciphertext."""
    return f"vault:v{native_id}:{base64.b64encode(value).decode()}"


def parse_versioned_value(native_id: str, text: Any) -> bytes:
    """Return the bytes of a signature or ciphertext of the version ``native_id``. Raises ``ValueError``."""
    match = _VERSIONED_VALUE.fullmatch(text) if isinstance(text, str) else None
    if match is None or match[1] != native_id:
        raise ValueError("not a value of this version")
    return base64.b64decode(match[2], validate=True)


def _read_public_key(kind: KeyType, values: Any) -> str:
    text: str = values["public_key"]
    load_raw_key = _RAW_KEY_LOADERS.get(kind)
    key = load_pem_public_key(text.encode()) if load_raw_key is None else load_raw_key(base64.b64decode(text))
    return encode_public_key(key)


def _read_certificate(values: Any) -> str | None:
    """Return the certificate of the key, which is the first one of its chain."""
    chain = values.get("certificate_chain")
    if not chain:
        return None
    return x509.load_pem_x509_certificate(chain.encode()).public_bytes(Encoding.PEM).decode()
