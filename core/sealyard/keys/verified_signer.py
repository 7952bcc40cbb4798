"""Signers for keys in a token or key service. They verify each signature before they return it."""

from __future__ import annotations

import hashlib
from typing import cast

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sealyard.crypto.algorithms import SIGNATURES, SigningInput
from sealyard.crypto.message_limits import check_message_limit
from sealyard.crypto.signatures import key_type_of, verify
from sealyard.keys.backend import KeyBackend
from sealyard.model.algorithms import HashName, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey
from sealyard.model.errors import InvalidInputError, InvalidKeyError, KeyProviderError


class VerifiedSigner:
    """One version of a key, bound to one signature algorithm. With ``prehashed``, it takes finished digests.

    ``uri``: the URI of the key, whose name the backend receives.
    """

    def __init__(
        self,
        backend: KeyBackend,
        uri: str,
        key: BackendKey,
        algorithm: SigningAlgorithm,
        *,
        prehashed: bool = False,
    ) -> None:
        self._backend = backend
        self._uri = uri
        self._name = uri.partition(":")[2]
        self._key = key
        self._algorithm = algorithm
        self._hash = SIGNATURES[algorithm].hash
        self._takes_digest = prehashed or SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST
        self._check_algorithm()

    async def sign(self, data: bytes) -> bytes:
        """Return the signature of ``data``; see :class:`sealyard.keys.provider.Signer`.

        Raises :class:`InvalidKeyError` if the message is longer than the key can sign, and :class:`KeyProviderError` if
        the signature that the backend returned is not valid.
        """
        signed_data, digest = self._prepare(data)
        signature = await self._backend.sign(self._name, self._key.native_id, self._algorithm, signed_data, digest)
        public_key = load_public_key(self._key, self._uri)
        if not verify(public_key, self._algorithm, data, signature, prehashed=self._takes_digest):
            raise KeyProviderError(
                f"The signature of {self._uri} is not valid for its recorded public key.",
                "Check that the key was not replaced; if it was, register the new key under another name.",
            )
        return signature

    def _prepare(self, data: bytes) -> tuple[bytes, HashName | None]:
        """Return what the backend signs: the message, or its digest if the message is too long for the backend."""
        if self._takes_digest:
            assert self._hash is not None
            length = hashlib.new(self._hash).digest_size
            if len(data) != length:
                raise InvalidInputError(f"A digest of {self._hash.upper()} has {length} bytes, not {len(data)}.")
            return data, self._hash
        capabilities = self._key.capabilities
        check_message_limit(self._uri, capabilities, self._algorithm, len(data), "message")
        limit = capabilities.max_message_bytes
        if self._hash is None or limit is None or len(data) <= limit:
            return data, None
        return hashlib.new(self._hash, data).digest(), self._hash

    def _check_algorithm(self) -> None:
        capabilities = self._key.capabilities
        if self._algorithm not in capabilities.algorithms:
            supported = ", ".join(capabilities.algorithms) or "no signature algorithm"
            raise InvalidKeyError(f"{self._uri} does not support {self._algorithm}.", f"It supports {supported}.")
        if self._takes_digest and self._hash not in capabilities.digests:
            raise InvalidKeyError(
                f"{self._uri} cannot sign finished digests with {self._algorithm}.", "Use a key of another type."
            )


def load_public_key(key: BackendKey, uri: str) -> CertificatePublicKeyTypes:
    """Return the public key. Raises :class:`InvalidKeyError` if the key is symmetric."""
    if key.public_key is None:
        raise InvalidKeyError(f"{uri} is a symmetric key, which has no certificate.", "Use a signing key.")
    public_key = load_pem_public_key(key.public_key.encode())
    key_type_of(public_key)
    return cast(CertificatePublicKeyTypes, public_key)
