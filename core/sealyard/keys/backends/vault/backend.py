"""The key backend ``vault``: keys in the Transit secrets engine of HashiCorp Vault or OpenBao.

A key is named by the path of its engine and its own name (``vault:transit/gateway-sign``). Its versions are those of
the engine.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

from sealyard.keys.backends.signing_requests import check_signing_request
from sealyard.keys.backends.vault.client import VaultClient, VaultResponse, capitalize
from sealyard.keys.backends.vault.session import VaultSession
from sealyard.keys.backends.vault.transit_keys import (
    TRANSIT_TYPES,
    TransitKey,
    format_versioned_value,
    parse_versioned_value,
    read_transit_key,
    signing_parameters,
)
from sealyard.keys.worker_settings import VaultOptions
from sealyard.keys.wrapping import check_secret_size
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey, ListedKey
from sealyard.model.errors import (
    AlreadyExistsError,
    InvalidInputError,
    InvalidKeyError,
    KeyProviderError,
    NotFoundError,
    SealyardError,
)
from sealyard.model.provider_settings import ProviderSettings, Secrets

MAX_PARALLEL_READS = 8
"""How many keys are read at once to list them."""

_KEY_NAME = re.compile(r"\w(?:[\w.-]*\w)?", re.ASCII)
_NO_ENGINE = "no handler for route"
_NO_KEY = "key not found"


class VaultBackend:
    """Keys in one Transit secrets engine. Requests run in threads."""

    def __init__(self, session: VaultSession, options: VaultOptions, service: str) -> None:
        self._session = session
        self._mount = options.mount
        self._service = service
        self._keys: dict[str, TransitKey] = {}

    @classmethod
    async def open(cls, settings: ProviderSettings, secrets: Secrets) -> Self:
        """Log in and check that the secrets engine can be used; see :class:`KeyBackendFactory`."""
        options = settings.parse_options(VaultOptions)
        client = VaultClient(settings, options)
        session = VaultSession(client, settings, options, secrets)
        backend = cls(session, options, client.service)
        try:
            await asyncio.to_thread(session.start)
            await backend.probe()
        except BaseException:
            await backend.close()
            raise
        return backend

    async def close(self) -> None:
        self._session.close()

    async def probe(self) -> None:
        response = await self._send("GET", f"sys/internal/ui/mounts/{self._mount}")
        if not response.is_success:
            raise KeyProviderError(
                f"{capitalize(self._service)} has no secrets engine at {self._mount}/, or no permission for it.",
                "Correct the option mount, or attach the policy of the documentation to the role or token.",
            )
        if (response.data or {}).get("type") != "transit":
            raise KeyProviderError(
                f"The secrets engine at {self._mount}/ of {self._service} is not a Transit engine.",
                "Correct the option mount.",
            )

    async def list_keys(self) -> tuple[ListedKey, ...]:
        """Return the keys that can be registered; those that the token may not read are omitted."""
        path = f"{self._mount}/keys"
        response = await self._send("LIST", path)
        if response.status == HTTPStatus.NOT_FOUND and not response.errors:
            return ()
        data = self._require_success(response, "list the keys of", f"vault:{self._mount}", "list", path)
        limit = asyncio.Semaphore(MAX_PARALLEL_READS)

        async def read(key_name: str) -> ListedKey | None:
            async with limit:
                name = f"{self._mount}/{key_name}"
                try:
                    return ListedKey(name=name, kind=(await self._read(name)).kind, label=key_name)
                except (InvalidKeyError, NotFoundError):
                    return None

        keys = await asyncio.gather(*(read(str(key_name)) for key_name in sorted(data.get("keys", ()))))
        return tuple(key for key in keys if key is not None)

    async def resolve(self, name: str) -> str:
        await self._read(name)
        return name

    async def describe(self, name: str) -> BackendKey:
        return (await self._read(name)).describe()

    async def generate(self, name: str, kind: KeyType) -> tuple[str, BackendKey]:
        path, transit_type = self._path("keys", name), TRANSIT_TYPES.get(kind)
        if transit_type is None:
            raise InvalidKeyError(
                f"{capitalize(self._service)} does not generate keys of type {kind}.",
                f"Use one of {', '.join(TRANSIT_TYPES)}.",
            )
        # The request to create a key succeeds without a change if the key exists.
        existing = await self._send("GET", path)
        if existing.status != HTTPStatus.NOT_FOUND or existing.errors:
            self._require_success(existing, "read", f"vault:{name}", "read", path)
            raise AlreadyExistsError(f"The key vault:{name} exists already.", "Choose another name, or register it.")
        await self._request("POST", path, {"type": transit_type}, "create", f"vault:{name}", "create")
        key = await self._read(name)
        if key.kind is not kind:
            raise AlreadyExistsError(f"Another key vault:{name} was created meanwhile.", "Choose another name.")
        return name, key.describe()

    async def rotate(self, name: str) -> BackendKey:
        await self._read(name)
        await self._request("POST", f"{self._path('keys', name)}/rotate", {}, "rotate", f"vault:{name}", "update")
        return await self.describe(name)

    async def sign(
        self, name: str, native_id: str, algorithm: SigningAlgorithm, data: bytes, digest: HashName | None
    ) -> bytes:
        key = await self._find_version(name, native_id)
        spec = check_signing_request(key.uri, key.kind, algorithm, data, digest)
        body = {
            "input": _encode(data),
            "key_version": int(native_id),
            **signing_parameters(spec, prehashed=digest is not None),
        }
        answer = await self._request("POST", self._path("sign", name), body, "sign with", key.uri, "update")
        return self._parse(key.uri, native_id, answer.get("signature"))

    async def wrap(self, name: str, native_id: str, secret: bytes, associated_data: bytes) -> bytes:
        check_secret_size(secret)
        # Read the key first: a request to encrypt with an unknown key would create it if the policy permits that.
        key = await self._read(name)
        _require_wrapping_key(key)
        key.require_version(native_id)
        body = {
            "plaintext": _encode(secret),
            "associated_data": _encode(associated_data),
            "key_version": int(native_id),
        }
        answer = await self._request("POST", self._path("encrypt", name), body, "encrypt with", key.uri, "update")
        return self._parse(key.uri, native_id, answer.get("ciphertext"))

    async def unwrap(self, name: str, native_id: str, wrapped: bytes, associated_data: bytes) -> bytes:
        key = await self._find_version(name, native_id)
        _require_wrapping_key(key)
        body = {
            "ciphertext": format_versioned_value(native_id, wrapped),
            "associated_data": _encode(associated_data),
        }
        path = self._path("decrypt", name)
        response = await self._send("POST", path, body)
        if response.status == HTTPStatus.BAD_REQUEST and _NO_KEY not in response.reason:
            raise InvalidKeyError(
                f"A secret cannot be decrypted with version {native_id} of {key.uri}: it was changed, or encrypted "
                f"with another key, version or purpose ({response.reason}).",
                "Restore the workspace from a backup, or the key from a backup of the server.",
            )
        answer = self._require_success(response, "decrypt with", key.uri, "update", path)
        try:
            return base64.b64decode(answer["plaintext"], validate=True)
        except (KeyError, TypeError, ValueError):
            raise self._response_error(key.uri) from None

    def _path(self, operation: str, name: str) -> str:
        """Return the path of an operation. Raises :class:`NotFoundError` if ``name`` cannot be a key of this engine."""
        mount, _, key_name = name.rpartition("/")
        if mount != self._mount or not _KEY_NAME.fullmatch(key_name):
            raise NotFoundError(
                f"vault:{name[:80]} is not the name of a key in the secrets engine {self._mount}/.",
                f"Use a name like vault:{self._mount}/gateway-sign.",
            )
        return f"{mount}/{operation}/{key_name}"

    async def _find_version(self, name: str, native_id: str) -> TransitKey:
        """Return the key, which is read only if the version is not known yet: neither changes afterwards."""
        key = self._keys.get(name)
        if key is None or native_id not in key.versions:
            key = await self._read(name)
            key.require_version(native_id)
        return key

    async def _read(self, name: str) -> TransitKey:
        """Return the key. Raises :class:`InvalidKeyError` if its type is not supported."""
        self._keys.pop(name, None)
        path, uri = self._path("keys", name), f"vault:{name}"
        data = await self._request("GET", path, None, "read", uri, "read")
        key = read_transit_key(uri, data)
        if key is None:
            raise InvalidKeyError(
                f"The key {uri} has the type {str(data.get('type'))[:40]}, or derives keys from a context.",
                f"Use a key of type {', '.join(TRANSIT_TYPES.values())} that derives no other keys.",
            )
        self._keys[name] = key
        return key

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, action: str, uri: str, capability: str
    ) -> Mapping[str, Any]:
        return self._require_success(await self._send(method, path, body), action, uri, capability, path)

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultResponse:
        return await asyncio.to_thread(self._session.send, method, path, body)

    def _require_success(
        self, response: VaultResponse, action: str, uri: str, capability: str, path: str
    ) -> Mapping[str, Any]:
        """Return the data of the response. Raises the error that explains why ``action`` failed."""
        if response.is_success:
            return response.data or {}
        if response.status == HTTPStatus.NOT_FOUND and _NO_ENGINE in response.reason:
            raise KeyProviderError(
                f"{capitalize(self._service)} has no secrets engine at {self._mount}/.",
                "Enable the Transit secrets engine, or correct the option mount.",
            )
        raise self._to_error(response, action, uri, capability, path)

    def _to_error(self, response: VaultResponse, action: str, uri: str, capability: str, path: str) -> SealyardError:
        if response.status == HTTPStatus.FORBIDDEN:
            return InvalidKeyError(
                f"{capitalize(self._service)} does not permit Sealyard to {action} {uri}.",
                f'Grant the capability "{capability}" on the path {path} in the policy of its role or token.',
            )
        if response.status == HTTPStatus.NOT_FOUND or _NO_KEY in response.reason:
            return NotFoundError(f"The key {uri} does not exist on {self._service}.", "Check the name of the key.")
        if response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return InvalidInputError(
                f"The request to {action} {uri} is larger than {self._service} accepts.",
                "Raise its max_request_size, or sign with an RSA or P-256 key and the digest.",
            )
        return InvalidKeyError(
            f"{capitalize(self._service)} refused to {action} {uri}: {response.reason}.",
            "Check the settings of the key.",
        )

    def _parse(self, uri: str, native_id: str, value: Any) -> bytes:
        try:
            return parse_versioned_value(native_id, value)
        except ValueError:
            raise self._response_error(uri) from None

    def _response_error(self, uri: str) -> KeyProviderError:
        return KeyProviderError(f"{capitalize(self._service)} returned an unexpected result for {uri}.")


def _require_wrapping_key(key: TransitKey) -> None:
    if key.kind is not KeyType.AES_256:
        raise InvalidKeyError(
            f"The key {key.uri} has the type {key.kind}, which cannot wrap secrets.",
            f"Use a key of type {KeyType.AES_256}.",
        )


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
