"""The key providers of a workspace: its local keys, and the tokens and key services of the worker settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TypeVar

from sealyard.keys.key_records import KeyRecords
from sealyard.keys.local import LocalKeyProvider
from sealyard.keys.provider import KeyProvider
from sealyard.keys.registered import RegisteredKeyProvider
from sealyard.model.backend_keys import DescribedKey, ProviderKeys, ProviderStatus
from sealyard.model.errors import ErrorInfo, InvalidKeyError, NotFoundError, SealyardError, error_from_info
from sealyard.model.key_holder_messages import OpenKeys
from sealyard.model.key_uris import LOCAL_SCHEME, KeyUri, parse_key_uri
from sealyard.model.keys import WrappingKey
from sealyard.model.provider_routes import ProviderRoute, find_route
from sealyard.worker.provider_client import ProviderClient

T = TypeVar("T")


class KeyProviders:
    """Finds the provider of a key by its URI. Implements :class:`sealyard.keys.provider.KeyWrapper` for local keys."""

    def __init__(self, request: OpenKeys, provider_fds: Sequence[int]) -> None:
        """``provider_fds``: a socket for each provider of ``request``, in the same order."""
        self._folder = Path(request.workspace) / "keys"
        self._master_key = request.master_key
        self._routes = request.providers
        self._settings_error = request.providers_error
        self._clients = {
            route.section: ProviderClient(fd, route.section)
            for route, fd in zip(request.providers, provider_fds, strict=True)
        }
        self._records = KeyRecords(self._folder / "registered", request.master_key)
        self._local: LocalKeyProvider | None = None

    def start(self) -> None:
        """Start the connections to the provider processes. Must be called on the event loop that uses them."""
        for client in self._clients.values():
            client.start()

    @property
    def local(self) -> LocalKeyProvider:
        """The local keys. Raises the errors of :class:`LocalKeyProvider`."""
        if self._local is None:
            self._local = LocalKeyProvider(self._folder / LOCAL_SCHEME, self._master_key, self)
        return self._local

    def find(self, uri_text: str) -> tuple[KeyProvider, str]:
        """Return the provider of the key with this URI, and the name of the key without the scheme.

        Raises :class:`KeyProviderError` if no section of the worker settings serves the key, or if the settings cannot
        be used.
        """
        uri = parse_key_uri(uri_text)
        if uri.scheme == LOCAL_SCHEME:
            return self.local, uri.name
        return RegisteredKeyProvider(uri.scheme, self._find_client(uri), self._records), uri.name

    async def describe(self, uri_text: str) -> DescribedKey:
        """Return the description of a key in a token or key service, which need not be registered.

        Raises the errors of :meth:`find`, and :class:`InvalidKeyError` if the key is local.
        """
        uri = parse_key_uri(uri_text)
        if uri.scheme == LOCAL_SCHEME:
            raise InvalidKeyError(f"{uri} is a local key.", "Use a key in a token or key service.")
        client = self._find_client(uri)
        name = await client.resolve(uri.name)
        key = await client.describe(name)
        return DescribedKey(uri=f"{uri.scheme}:{name}", kind=key.kind, capabilities=key.capabilities)

    async def wrap(self, uri: str, secret: bytes, associated_data: bytes) -> tuple[WrappingKey, bytes]:
        provider, name = self._find_wrapping_provider(uri)
        info = await provider.get_info(name)
        key = WrappingKey(uri=info.uri, version=info.current.version)
        return key, await provider.wrap(name, key.version, secret, associated_data)

    async def unwrap(self, key: WrappingKey, wrapped: bytes, associated_data: bytes) -> bytes:
        provider, name = self._find_wrapping_provider(key.uri)
        return await provider.unwrap(name, key.version, wrapped, associated_data)

    async def probe(self) -> tuple[ProviderStatus, ...]:
        """Test all providers of the worker settings."""
        if self._settings_error is not None:
            return (ProviderStatus(section="", scheme="", error=self._settings_error),)
        return tuple(await asyncio.gather(*map(self._probe, self._routes)))

    async def list_keys(self, section: str) -> tuple[ProviderKeys, ...]:
        """Return the keys that can be registered: those of ``section``, or of all sections if it is empty.

        Raises :class:`NotFoundError` if there is no such section, and :class:`KeyProviderError` if the worker settings
        cannot be used.
        """
        self._check_settings()
        routes = [route for route in self._routes if section in ("", route.section)]
        if section and not routes:
            raise NotFoundError(f"The worker settings have no section keys.{section}.", "See worker.example.toml.")
        return tuple(await asyncio.gather(*map(self._list_keys, routes)))

    async def _probe(self, route: ProviderRoute) -> ProviderStatus:
        _, error = await _catch_error(self._clients[route.section].probe)
        return ProviderStatus(section=route.section, scheme=route.scheme, key_prefix=route.key_prefix, error=error)

    async def _list_keys(self, route: ProviderRoute) -> ProviderKeys:
        keys, error = await _catch_error(self._clients[route.section].list_keys)
        return ProviderKeys(
            section=route.section, scheme=route.scheme, key_prefix=route.key_prefix, keys=keys or (), error=error
        )

    def _find_client(self, uri: KeyUri) -> ProviderClient:
        self._check_settings()
        return self._clients[find_route(self._routes, uri).section]

    def _find_wrapping_provider(self, uri: str) -> tuple[KeyProvider, str]:
        if parse_key_uri(uri).scheme == LOCAL_SCHEME:
            raise InvalidKeyError(
                f"{uri} is a local key, which protects no other key.", "Use a key in a token or key service."
            )
        return self.find(uri)

    def _check_settings(self) -> None:
        if self._settings_error is not None:
            raise error_from_info(self._settings_error)


async def _catch_error(call: Callable[[], Coroutine[None, None, T]]) -> tuple[T | None, ErrorInfo | None]:
    """Return the result of ``call``, or its error."""
    try:
        return await call(), None
    except SealyardError as error:
        return None, error.to_info()
