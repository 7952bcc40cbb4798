"""Checks of a request to sign, which are the same for all key services."""

from __future__ import annotations

import hashlib

from sealyard.crypto.algorithms import SIGNATURES, SignatureSpec
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidInputError, InvalidKeyError


def check_signing_request(
    uri: str, kind: KeyType, algorithm: SigningAlgorithm, data: bytes, digest: HashName | None
) -> SignatureSpec:
    """Return the specification of ``algorithm`` if a key of the type ``kind`` can sign ``data`` with it.

    Raises :class:`InvalidKeyError` if the key or the hash function does not match the algorithm, and
    :class:`InvalidInputError` if the digest has the wrong length.
    """
    spec = SIGNATURES[algorithm]
    if kind not in spec.key_kinds:
        raise InvalidKeyError(
            f"The key {uri} has the type {kind}, which {algorithm} does not support.",
            f"Use a key of type {' or '.join(spec.key_kinds)}.",
        )
    if digest is None:
        return spec
    if digest is not spec.hash:
        expected = "the message" if spec.hash is None else f"a {spec.hash} digest"
        raise InvalidKeyError(f"{algorithm} signs {expected}, not a {digest} digest, with the key {uri}.")
    length = hashlib.new(digest).digest_size
    if len(data) != length:
        raise InvalidInputError(f"{algorithm} requires a digest of {length} bytes; this one has {len(data)}.")
    return spec
