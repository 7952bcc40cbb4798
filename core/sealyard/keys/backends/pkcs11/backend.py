"""The key backend of the scheme ``pkcs11``: keys in one token."""

from __future__ import annotations

import asyncio
from typing import Self

from pkcs11 import ObjectClass

from sealyard.crypto.certificates import encode_public_key
from sealyard.keys.backends.pkcs11.connection import TokenConnection, TokenSession
from sealyard.keys.backends.pkcs11.generation import first_identifier, generate_key
from sealyard.keys.backends.pkcs11.key_objects import KeyObject, search_keys
from sealyard.keys.backends.pkcs11.module import open_module
from sealyard.keys.backends.pkcs11.public_keys import load_certificate, load_public_key
from sealyard.keys.backends.pkcs11.signing import describe_capabilities, sign_data
from sealyard.keys.backends.pkcs11.versions import (
    canonical_name,
    find_version,
    find_versions,
    format_uri,
    list_key_groups,
    next_identifier,
    parse_name,
)
from sealyard.keys.backends.pkcs11.wrapping import unwrap_secret, wrap_secret
from sealyard.keys.backends.signing_requests import check_signing_request
from sealyard.keys.provider_options import Pkcs11Options
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey, ListedKey
from sealyard.model.errors import AlreadyExistsError, InvalidKeyError, KeyProviderError, NotFoundError
from sealyard.model.provider_settings import ProviderSettings, Secrets

PIN_NAME = "pin"
"""Name of the secret that contains the PIN of the token's user."""

_PROBE_LABEL = "health check"


class Pkcs11Backend:
    """Keys in a PKCS#11 token; see :class:`sealyard.keys.backend.KeyBackend`.

    ``native_id`` is the identifier of an object (CKA_ID) in hexadecimal.
    """

    def __init__(self, connection: TokenConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, settings: ProviderSettings, secrets: Secrets) -> Self:
        options = settings.parse_options(Pkcs11Options)
        pin = _decode_pin(secrets.require(PIN_NAME, settings), settings)
        module = await asyncio.to_thread(open_module, options.module, is_serial=options.serial)
        session_count = 1 if options.serial else options.sessions
        backend = cls(TokenConnection(module, options.token, pin, session_count))
        try:
            await backend.probe()
        except BaseException:
            await backend.close()
            raise
        return backend

    async def close(self) -> None:
        await self._connection.close()

    async def probe(self) -> None:
        await self._connection.run("answer", _search_nothing)

    async def list_keys(self) -> tuple[ListedKey, ...]:
        keys = await self._connection.run("list the keys", _list_keys)
        return tuple(sorted(keys, key=lambda key: key.name))

    async def resolve(self, name: str) -> str:
        def resolve(session: TokenSession) -> str:
            return canonical_name(session, name, find_versions(session, name)[-1])

        return await self._connection.run(f"find the key {format_uri(name)}", resolve)

    async def describe(self, name: str) -> BackendKey:
        def describe(session: TokenSession) -> BackendKey:
            return _describe(session, name, find_versions(session, name)[-1])

        return await self._connection.run(f"read the key {format_uri(name)}", describe)

    async def generate(self, name: str, kind: KeyType) -> tuple[str, BackendKey]:
        new_identifiers: list[bytes] = []

        def generate(session: TokenSession) -> tuple[str, BackendKey]:
            label = _get_new_label(session, name)
            if not new_identifiers:
                _require_unused(session, name)
                new_identifiers.append(first_identifier(session))
            key = _generate_once(session, name, kind, label, new_identifiers[0])
            return canonical_name(session, name, key), _describe(session, name, key)

        return await self._connection.run(f"generate the key {format_uri(name)}", generate, writes=True)

    async def rotate(self, name: str) -> BackendKey:
        new_identifiers: list[bytes] = []

        def rotate(session: TokenSession) -> BackendKey:
            newest = find_versions(session, name)[-1]
            if parse_name(session, name).id is not None or newest.kind is None:
                raise InvalidKeyError(
                    f"The key {format_uri(name)} cannot be rotated, because its name is that of one object.",
                    "Register the key by its label, without the id.",
                )
            if not new_identifiers:
                new_identifiers.append(next_identifier(session, newest, format_uri(name)))
            key = _generate_once(session, name, newest.kind, newest.label, new_identifiers[0])
            return _describe(session, name, key)

        return await self._connection.run(f"rotate the key {format_uri(name)}", rotate, writes=True)

    async def sign(
        self, name: str, native_id: str, algorithm: SigningAlgorithm, data: bytes, digest: HashName | None
    ) -> bytes:
        uri = format_uri(name)

        def sign(session: TokenSession) -> bytes:
            key = find_version(session, name, native_id)
            spec = check_signing_request(uri, _require_kind(key, uri), algorithm, data, digest)
            return sign_data(session, key, uri, spec, data, digest)

        return await self._connection.run(f"sign with the key {uri}", sign)

    async def wrap(self, name: str, native_id: str, secret: bytes, associated_data: bytes) -> bytes:
        uri = format_uri(name)

        def wrap(session: TokenSession) -> bytes:
            return wrap_secret(session, find_version(session, name, native_id), uri, secret, associated_data)

        return await self._connection.run(f"wrap a secret with the key {uri}", wrap)

    async def unwrap(self, name: str, native_id: str, wrapped: bytes, associated_data: bytes) -> bytes:
        uri = format_uri(name)

        def unwrap(session: TokenSession) -> bytes:
            return unwrap_secret(session, find_version(session, name, native_id), uri, wrapped, associated_data)

        return await self._connection.run(f"unwrap a secret with the key {uri}", unwrap)


def _decode_pin(pin: bytes, settings: ProviderSettings) -> str:
    try:
        return pin.decode()
    except UnicodeDecodeError:
        raise KeyProviderError(
            f"The PIN of the key provider {settings.name} is not UTF-8 text.", "Correct the secret pin."
        ) from None


def _search_nothing(session: TokenSession) -> None:
    """Make the token answer, without reading its keys."""
    session.check_presence()
    search_keys(session, ObjectClass.PRIVATE_KEY, label=_PROBE_LABEL)


def _list_keys(session: TokenSession) -> list[ListedKey]:
    """Return the keys that can sign or wrap."""
    keys = []
    for name, versions in list_key_groups(session):
        newest = versions[-1]
        capabilities = describe_capabilities(session, newest, names_versions=True)
        if newest.kind is not None and (capabilities.algorithms or capabilities.can_wrap):
            keys.append(ListedKey(name=name, kind=newest.kind, label=newest.label))
    return keys


def _describe(session: TokenSession, name: str, key: KeyObject) -> BackendKey:
    uri = format_uri(name)
    kind = _require_kind(key, uri)
    capabilities = describe_capabilities(session, key, names_versions=parse_name(session, name).id is None)
    if kind.symmetric:
        return BackendKey(native_id=key.native_id, kind=kind, capabilities=capabilities)
    public_key = load_public_key(session, key, uri)
    return BackendKey(
        native_id=key.native_id,
        kind=kind,
        public_key=encode_public_key(public_key),
        certificate=load_certificate(session, key, public_key),
        capabilities=capabilities,
    )


def _require_kind(key: KeyObject, uri: str) -> KeyType:
    if key.kind is None:
        raise InvalidKeyError(
            f"The key {uri} has a type that is not supported.",
            "Use RSA with 2048, 3072 or 4096 bits, EC on NIST P-256, Ed25519, or AES.",
        )
    return key.kind


def _get_new_label(session: TokenSession, name: str) -> str:
    parsed_name = parse_name(session, name)
    if parsed_name.id is not None or parsed_name.object is None:
        raise InvalidKeyError(
            f"The name {format_uri(name)} of a new key must not contain an id.",
            f"Use a name like pkcs11:token={session.token.label};object=gateway-sign.",
        )
    return parsed_name.object


def _require_unused(session: TokenSession, name: str) -> None:
    try:
        find_versions(session, name)
    except NotFoundError:
        return
    except InvalidKeyError:
        pass
    raise AlreadyExistsError(f"Key {format_uri(name)} already exists.", "Rotate it, or choose another name.")


def _generate_once(session: TokenSession, name: str, kind: KeyType, label: str, identifier: bytes) -> KeyObject:
    """Generate a key unless an earlier attempt, whose answer was lost, has done so."""
    try:
        return find_version(session, name, identifier.hex())
    except NotFoundError:
        return generate_key(session, kind, label, identifier, format_uri(name))
