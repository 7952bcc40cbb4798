"""Interface of key backends: the tokens and key services that hold keys outside the workspace.

A backend runs in a provider process (:mod:`sealyard.provider`) and stores nothing itself. The crypto worker records the
versions and certificates of its keys, and serves them through :class:`sealyard.keys.provider.KeyProvider`.
"""

from __future__ import annotations

from typing import Protocol

from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey, ListedKey
from sealyard.model.provider_settings import ProviderSettings, Secrets


class KeyBackend(Protocol):
    """Keys in one token, or in one account of a key service.

    ``name`` is the name of a key without the scheme, in the canonical form that :meth:`resolve` returns, and
    ``native_id`` the backend's identifier of one of its versions (:attr:`BackendKey.native_id`).

    Every method raises :class:`NotFoundError` if the key or version does not exist, :class:`InvalidKeyError` if the key
    cannot be used for the operation or access to it is denied, :class:`KeyProviderError` if the settings or credentials
    are refused, and :class:`KeyProviderUnavailableError` if the token or service does not answer, so that the call can
    be repeated. The messages name the key and the token or service, and never contain a secret.
    """

    async def close(self) -> None:
        """End connections and sessions. The backend must not be used afterwards."""
        ...

    async def probe(self) -> None:
        """Raise an error that users can understand if the backend cannot use its keys now."""
        ...

    async def list_keys(self) -> tuple[ListedKey, ...]:
        """Return the keys that can be registered, sorted by name. Keys of unsupported types are omitted."""
        ...

    async def resolve(self, name: str) -> str:
        """Return the canonical name of the key ``name``, for example the ARN of an alias. The key must exist."""
        ...

    async def describe(self, name: str) -> BackendKey:
        """Return the newest version of the key."""
        ...

    async def generate(self, name: str, kind: KeyType) -> tuple[str, BackendKey]:
        """Generate a key, and return its canonical name and its first version.

        The private or secret key can never be read. Raises :class:`AlreadyExistsError` if the name is in use.
        """
        ...

    async def rotate(self, name: str) -> BackendKey:
        """Generate the next version of the key, with the same type. Raises :class:`InvalidKeyError` if it cannot."""
        ...

    async def sign(
        self, name: str, native_id: str, algorithm: SigningAlgorithm, data: bytes, digest: HashName | None
    ) -> bytes:
        """Return the signature of ``data`` in the encoding of :data:`sealyard.crypto.algorithms.SIGNATURES`.

        ``digest``: the hash function whose digest ``data`` is, or None if ``data`` is the message.
        """
        ...

    async def wrap(self, name: str, native_id: str, secret: bytes, associated_data: bytes) -> bytes:
        """Encrypt and authenticate ``secret``, and authenticate ``associated_data``.

        ``secret`` has at most :data:`sealyard.keys.provider.MAX_WRAPPED_SECRET_BYTES`.
        """
        ...

    async def unwrap(self, name: str, native_id: str, wrapped: bytes, associated_data: bytes) -> bytes:
        """Return the secret that :meth:`wrap` encrypted.

        Raises :class:`InvalidKeyError` if ``wrapped`` was changed, or was made with another key, version or associated
        data.
        """
        ...


class KeyBackendFactory(Protocol):
    """The class of a key backend, which an entry point of the group ``sealyard.key_backends`` names by its scheme."""

    async def open(self, settings: ProviderSettings, secrets: Secrets) -> KeyBackend:
        """Open the backend. Connections, modules and logins are made here, not when its module is imported.

        Raises :class:`KeyProviderError` if the settings or credentials are not valid, and
        :class:`KeyProviderUnavailableError` if the token or service does not answer.
        """
        ...
