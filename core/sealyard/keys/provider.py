"""The seam to whatever holds keys: local files now, PKCS#11 and key services later."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sealyard.crypto.protocols import ContentCipher
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.keys import KeyInfo, KeyVersion


class Signer(Protocol):
    """One version of a signing key, bound to one algorithm.

    ``sign`` takes what the catalogue says the algorithm takes (the message, or exactly 32 bytes of a finished
    SHA-256) and answers the signature as the catalogue encodes it.
    """

    async def sign(self, data: bytes) -> bytes: ...


class KeyProvider(Protocol):
    """Holds keys and uses them; never gives a private key away.

    Names are without the scheme. Every method raises :class:`NotFoundError` for an unknown key or version,
    :class:`ConflictError` for a name that is taken, and :class:`InvalidKeyError` where kind and algorithm do
    not fit.
    """

    async def get_info(self, name: str) -> KeyInfo:
        """What may be known of the key and its versions."""
        ...

    async def generate(self, name: str, kind: KeyType, purpose: KeyPurpose, subject: str) -> KeyInfo:
        """Makes version 1; a signing key gets a self-signed certificate for ``subject`` (a common name)."""
        ...

    async def import_key(
        self,
        name: str,
        path: Path,
        kind: KeyType,
        purpose: KeyPurpose,
        password: str | None,
        certificate: Path | None,
    ) -> KeyInfo:
        """Takes version 1 from PEM, PKCS#12 or raw AES bytes; without a certificate one is self-signed."""
        ...

    async def rotate(self, name: str) -> KeyVersion:
        """Makes the next version, of the same kind and purpose."""
        ...

    async def signer(self, name: str, version: int, algorithm: SigningAlgorithm) -> Signer: ...

    async def cipher(self, name: str, version: int, algorithm: EncryptionAlgorithm) -> ContentCipher: ...

    async def export_symmetric(self, name: str, version: int) -> bytes:
        """The bytes of a symmetric key, for provisioning devices.

        :class:`InvalidKeyError` for any other key, and from a provider that never gives bytes away.
        """
        ...
