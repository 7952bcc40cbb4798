"""Interfaces of key providers. Sealyard has one for local files; others, for example for PKCS#11, are possible."""

from __future__ import annotations

from typing import Protocol

from sealyard.crypto.protocols import ContentCipher
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.keys import KeyInfo, KeyVersion


class Signer(Protocol):
    """One version of a signing key, bound to one signature algorithm.

    The catalogue (:data:`sealyard.crypto.algorithms.SIGNATURES`) defines the input of ``sign`` (the message, or its
    SHA-256 digest of exactly 32 bytes) and the encoding of the signature that it returns.
    """

    async def sign(self, data: bytes) -> bytes: ...


class KeyProvider(Protocol):
    """Stores keys and uses them. Never exports a private key.

    Key names do not include the scheme. Every method raises :class:`NotFoundError` if the key or version does not
    exist, :class:`AlreadyExistsError` if the name of a new key is in use, and :class:`InvalidKeyError` if the key type
    does not match the algorithm.
    """

    async def get_info(self, name: str) -> KeyInfo:
        """Return the public metadata of the key and its versions."""
        ...

    async def generate(self, name: str, kind: KeyType, purpose: KeyPurpose, subject: str) -> KeyInfo:
        """Generate version 1 of a new key.

        A signing key gets a self-signed certificate with the common name ``subject``.
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

        ``content``: that of a certificate file.

        The origin of the new version is "renewed". If the newest version has this certificate already, returns that
        version, so that an interrupted call can be repeated. Raises :class:`InvalidKeyError` if ``content`` has no
        certificate of this private key, or if the key is symmetric.
        """
        ...

    async def create_certificate_request(self, name: str, version: int) -> str:
        """Return a PKCS#10 certificate request (PEM) for the private key, with the subject of its certificate.

        Raises :class:`InvalidKeyError` if the key is symmetric.
        """
        ...

    async def signer(self, name: str, version: int, algorithm: SigningAlgorithm) -> Signer: ...

    async def cipher(self, name: str, version: int, algorithm: EncryptionAlgorithm) -> ContentCipher: ...

    async def export_symmetric(self, name: str, version: int) -> bytes:
        """Return the bytes of a symmetric key, to provision devices.

        Raises :class:`InvalidKeyError` if the key is not symmetric, or if the provider does not support export.
        """
        ...
