"""Interface of clients for keys: local keys, and those of tokens and key services."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sealyard.model.backend_keys import ProviderKeys, ProviderStatus
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import KeyGeneration, KeyImport, KeyRegistration


class KeyClient(Protocol):
    """Operations to manage keys."""

    async def keys(self) -> tuple[KeyInfo, ...]: ...
    async def import_key(self, request: KeyImport) -> KeyInfo: ...
    async def key_providers(self) -> tuple[ProviderStatus, ...]:
        """Test the tokens and key services that are set up, and return their states."""
        ...

    async def provider_keys(self, provider: str = "") -> tuple[ProviderKeys, ...]:
        """Return the keys of one key provider, or of all of them, whether they are registered or not.

        ``provider``: name of its section in the worker settings. A provider that does not work has an error instead of
        keys.
        """
        ...

    async def register_key(self, request: KeyRegistration) -> KeyInfo:
        """Add a key to the workspace that a token or key service has already."""
        ...

    async def generate_key(self, request: KeyGeneration) -> KeyInfo:
        """Generate a key in a token or key service, or a local key."""
        ...

    async def rotate_key(self, uri: str) -> KeyInfo:
        """Create the next version of a key, and a new version of every device configuration that uses the key."""
        ...

    async def import_certificate(self, uri: str, path: Path) -> KeyInfo:
        """Create the next version of a signing key: the same private key with the certificate in a file.

        Also creates a new version of every device configuration that uses the key. ``path``: PEM, DER or PKCS#7 with
        the certificate of the key and its issuers in any order. Raises :class:`InvalidKeyError` if these are not a
        valid chain for signatures, and :class:`ConflictError` if the key already has this chain.
        """
        ...

    async def create_certificate_request(self, uri: str) -> str:
        """Return a certificate request (PKCS#10, PEM) for a signing key, to have its certificate renewed."""
        ...
