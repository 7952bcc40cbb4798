"""Capabilities of keys in a token, and signatures by them."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import Attribute, Mechanism, MechanismFlag, TokenFlag

from sealyard.crypto.algorithms import SIGNATURES, SignatureScheme, SignatureSpec, SigningInput
from sealyard.keys.backends.pkcs11.connection import TokenSession
from sealyard.keys.backends.pkcs11.key_objects import KeyObject
from sealyard.keys.backends.pkcs11.mechanisms import GENERATORS, RSA_SIZES, find_signing_mechanisms, has_mechanism
from sealyard.keys.backends.pkcs11.wrapping import can_wrap, has_wrapping_mechanism
from sealyard.keys.capabilities import list_hashes
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidKeyError, KeyProviderError
from sealyard.model.keys import KeyCapabilities

_SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""What precedes the digest in a signature by PKCS #1 v1.5 with SHA-256 (RFC 8017, section 9.2)."""

_P256_NUMBER_LENGTH = 32


def describe_capabilities(session: TokenSession, key: KeyObject, *, names_versions: bool) -> KeyCapabilities:
    """Return what the token can do with a key. ``names_versions``: whether its name is that of all versions."""
    specs = [spec for spec in SIGNATURES.values() if _can_sign(session, key, spec)]
    hashes = list_hashes(specs)
    can_generate = can_generate_kind(session, key.kind)
    return KeyCapabilities(
        algorithms=tuple(spec.algorithm for spec in specs),
        digests=tuple(name for name in hashes if _signs_digests(session, key, specs, name)),
        can_wrap=can_wrap(session, key),
        can_generate=can_generate,
        can_rotate=can_generate and names_versions,
    )


def can_generate_kind(session: TokenSession, kind: KeyType | None) -> bool:
    """Return whether the token can generate and use keys of this type."""
    if kind is None or kind not in GENERATORS or session.token.flags & TokenFlag.WRITE_PROTECTED:
        return False
    flags = MechanismFlag.GENERATE if kind.symmetric else MechanismFlag.GENERATE_KEY_PAIR
    return has_mechanism(session.mechanisms, GENERATORS[kind], flags, RSA_SIZES.get(kind)) and _has_use(session, kind)


def sign_data(
    session: TokenSession, key: KeyObject, uri: str, spec: SignatureSpec, data: bytes, digest: HashName | None
) -> bytes:
    """Return the signature of the message ``data``, or of the digest ``data`` of the hash function ``digest``.

    A message is hashed in this process if the token signs digests, because many tokens limit the size of a message.
    """
    mechanisms = find_signing_mechanisms(spec)
    if spec.hash is not None and _can_use(session, key, mechanisms.digest):
        mechanism = mechanisms.digest
        value = data if digest is not None else hashlib.new(spec.hash, data).digest()
        if spec.scheme is SignatureScheme.PKCS1_V15:
            value = _SHA256_DIGEST_INFO + value
    elif digest is None and _can_use(session, key, mechanisms.message):
        mechanism, value = mechanisms.message, data
    else:
        kind = "a digest" if digest is not None else "a message"
        raise _unsupported(session, uri, spec.algorithm, kind)
    pin = session.pin if key.allows(Attribute.ALWAYS_AUTHENTICATE) else None
    signature: bytes = key.pkcs11_object.sign(value, mechanism=mechanism, mechanism_param=mechanisms.parameter, pin=pin)
    return _encode_ecdsa(signature, uri) if spec.scheme is SignatureScheme.ECDSA else signature


def _has_use(session: TokenSession, kind: KeyType) -> bool:
    if kind.symmetric:
        return has_wrapping_mechanism(session)
    mechanisms = [find_signing_mechanisms(spec) for spec in SIGNATURES.values() if kind in spec.key_kinds]
    return any(
        has_mechanism(session.mechanisms, mechanism, MechanismFlag.SIGN)
        for pair in mechanisms
        for mechanism in (pair.digest, pair.message)
    )


def _can_use(session: TokenSession, key: KeyObject, mechanism: Mechanism | None) -> bool:
    return key.allows(Attribute.SIGN) and key.can_use(session, mechanism, MechanismFlag.SIGN)


def _can_sign(session: TokenSession, key: KeyObject, spec: SignatureSpec) -> bool:
    if key.kind not in spec.key_kinds:
        return False
    mechanisms = find_signing_mechanisms(spec)
    if _can_use(session, key, mechanisms.digest):
        return True
    return spec.input is SigningInput.MESSAGE and _can_use(session, key, mechanisms.message)


def _signs_digests(session: TokenSession, key: KeyObject, specs: list[SignatureSpec], hash_name: HashName) -> bool:
    """Return whether the key signs digests with all its algorithms that use this hash function."""
    return all(_can_use(session, key, find_signing_mechanisms(spec).digest) for spec in specs if spec.hash is hash_name)


def _encode_ecdsa(signature: bytes, uri: str) -> bytes:
    """Return a signature in DER; tokens return the two numbers in 32 bytes each."""
    if len(signature) != 2 * _P256_NUMBER_LENGTH:
        raise KeyProviderError(
            f"The token returned a signature of {len(signature)} bytes for the key {uri}, not of 64.",
            "Check that its PKCS#11 module is up to date.",
        )
    r, s = (int.from_bytes(part, "big") for part in (signature[:_P256_NUMBER_LENGTH], signature[_P256_NUMBER_LENGTH:]))
    return encode_dss_signature(r, s)


def _unsupported(session: TokenSession, uri: str, algorithm: SigningAlgorithm, subject: str) -> InvalidKeyError:
    return InvalidKeyError(
        f"The key {uri} in the token {session.token.label} cannot sign {subject} with {algorithm}.",
        "Use another algorithm or key: the token lacks the mechanism, or the key does not allow it.",
    )
