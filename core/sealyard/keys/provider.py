"""Interfaces of key providers: local files, hardware security modules, and key services."""

from __future__ import annotations

from typing import Protocol

from sealyard.crypto.protocols import ContentCipher
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.keys import KeyCapabilities, KeyInfo, KeyVersion, WrappingKey

MAX_WRAPPED_SECRET_BYTES = 4096
"""Maximum size of a secret that can be wrapped, as much as AWS KMS encrypts in one request."""


class Signer(Protocol):
    """One version of a signing key, bound to one signature algorithm.

    The catalogue (:data:`sealyard.crypto.algorithms.SIGNATURES`) defines the input of ``sign`` (the message, or its
    SHA-256 digest of exactly 32 bytes) and the encoding of the signature that it returns. A signer of finished digests
    takes the digest for every algorithm.
    """

    async def sign(self, data: bytes) -> bytes: ...


class KeyWrapper(Protocol):
    """Wraps local keys with keys in a token or key service. Both methods raise the errors of :class:`KeyProvider`."""

    async def wrap(self, uri: str, secret: bytes, associated_data: bytes) -> tuple[WrappingKey, bytes]:
        """Wrap ``secret`` with the current version of the key ``uri``, and return this version and the result."""
        ...

    async def unwrap(self, key: WrappingKey, wrapped: bytes, associated_data: bytes) -> bytes: ...


class KeyProvider(Protocol):
    """Stores keys and uses them. Never exports a private key.

    Key names do not include the scheme. Every method raises :class:`NotFoundError` if the key or version does not
    exist, :class:`AlreadyExistsError` if the name of a new key is in use, and :class:`InvalidKeyError` if the key type
    does not match the algorithm, or if the provider does not support the operation for the key. Providers of keys in a
    token or key service also raise :class:`KeyProviderError` if it is not set up correctly or failed, and
    :class:`KeyProviderUnavailableError` if it does not answer, so that the call can be repeated.
    """

    async def close(self) -> None:
        """End connections and sessions. The provider must not be used afterwards."""
        ...

    async def probe(self) -> None:
        """Raise an error that users can understand if the provider cannot use its keys now."""
        ...

    async def get_capabilities(self, name: str) -> KeyCapabilities: ...

    async def get_info(self, name: str) -> KeyInfo:
        """Return the public metadata of the key and its versions."""
        ...

    async def generate(self, name: str, kind: KeyType, purpose: KeyPurpose, subject: str) -> KeyInfo:
        """Generate version 1 of a new key.

        A signing key gets a self-signed certificate with the common name ``subject``.
        """
        ...

    async def register(self, name: str, kind: KeyType, purpose: KeyPurpose, certificate: bytes | None) -> KeyInfo:
        """Return the public metadata of a key that the provider has already.

        ``certificate``: the content of a certificate file for the current version. Without it, a signing key keeps the
        certificate that the provider stores, or gets a self-signed one. Raises :class:`InvalidKeyError` if the key is
        of another kind or purpose, or the certificate is of another key.
        """
        ...

    async def import_key(
        self,
        name: str,
        content: bytes,
        kind: KeyType,
        purpose: KeyPurpose,
        password: str | None,
        certificate: bytes | None,
    ) -> KeyInfo:
        """Import version 1 of a new key from the content of a file: PEM, PKCS#12 or raw AES bytes.

        ``certificate``: the content of a certificate file. A signing key without a certificate gets a self-signed one.
        """
        ...

    async def rotate(self, name: str) -> KeyVersion:
        """Generate the next version of the key, with the same kind and purpose."""
        ...

    async def import_certificate(self, name: str, version: int, content: bytes) -> KeyVersion:
        """Create the next version of the key: the private key of ``version`` with a certificate.

        ``content``: that of a certificate file, with the issuers of the certificate in any order.

        The origin of the new version is "renewed". If the newest version has this chain already, returns that version,
        so that an interrupted call can be repeated. Raises :class:`InvalidKeyError` if ``content`` is not a chain for
        this private key that :func:`sealyard.crypto.certificate_chains.build_chain` accepts, or if the key is
        symmetric.
        """
        ...

    async def create_certificate_request(self, name: str, version: int) -> str:
        """Return a PKCS#10 certificate request (PEM) for the private key, with the subject of its certificate.

        Raises :class:`InvalidKeyError` if the key is symmetric.
        """
        ...

    async def signer(self, name: str, version: int, algorithm: SigningAlgorithm, *, prehashed: bool = False) -> Signer:
        """Return a signer. With ``prehashed``, it takes finished digests of the hash function of ``algorithm``.

        Raises :class:`InvalidKeyError` if ``prehashed`` is true and the key cannot sign such digests.
        """
        ...

    async def cipher(self, name: str, version: int, algorithm: EncryptionAlgorithm) -> ContentCipher: ...

    async def wrap(self, name: str, version: int, secret: bytes, associated_data: bytes) -> bytes:
        """Encrypt and authenticate ``secret``, and authenticate ``associated_data``.

        Raises :class:`InvalidInputError` if the secret is empty or larger than :data:`MAX_WRAPPED_SECRET_BYTES`, and
        :class:`InvalidKeyError` if the key cannot wrap.
        """
        ...

    async def unwrap(self, name: str, version: int, wrapped: bytes, associated_data: bytes) -> bytes:
        """Return the secret that :meth:`wrap` encrypted.

        Raises :class:`InvalidKeyError` if ``wrapped`` was changed, or was made with another key, version or associated
        data.
        """
        ...

    async def export_symmetric(self, name: str, version: int) -> bytes:
        """Return the bytes of a symmetric key, to provision devices.

        Raises :class:`InvalidKeyError` if the key is not symmetric, or if the provider does not support export.
        """
        ...
