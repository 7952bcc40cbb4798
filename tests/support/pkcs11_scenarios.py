"""Helpers of the tests of the backend ``pkcs11``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pkcs11
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pkcs11 import Attribute

from sealyard.crypto.signatures import verify
from sealyard.keys.backend import KeyBackend
from sealyard.keys.backends.pkcs11 import backend as backend_module
from sealyard.keys.backends.pkcs11.backend import Pkcs11Backend
from sealyard.keys.backends.pkcs11.connection import TokenConnection, TokenSession
from sealyard.keys.backends.pkcs11.key_objects import search_keys
from sealyard.keys.backends.pkcs11.module import Pkcs11Module
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.backend_keys import BackendKey
from tests.support.softhsm import TOKEN, make_secrets, make_settings, open_token_backend

T = TypeVar("T")
NAME = f"token={TOKEN};object=gateway-sign"
ECDSA = SigningAlgorithm.SHA256_ECDSA


def use_backend(scenario: Callable[[Pkcs11Backend], Awaitable[T]], **options: Any) -> T:
    """Run ``scenario`` with a backend of the token."""

    async def run() -> T:
        async with open_token_backend(make_settings(**options), make_secrets()) as backend:
            return await scenario(backend)

    return asyncio.run(run())


async def change_token(backend: Pkcs11Backend, change: Callable[[pkcs11.Session], T]) -> T:
    """Run ``change`` with a session of python-pkcs11 that can write."""

    def run(session: TokenSession) -> T:
        return change(session.session)

    return await backend._connection.run("change the token", run, writes=True)


def generate_p256(session: pkcs11.Session, **private_attributes: Any) -> None:
    """Generate the key ``NAME`` with these attributes of the private key."""
    parameters = session.create_domain_parameters(
        pkcs11.KeyType.EC, {Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}, local=True
    )
    template = {Attribute[name.upper()]: value for name, value in private_attributes.items()}
    parameters.generate_keypair(store=True, label="gateway-sign", id=b"\1", private_template=template)


@pytest.fixture
def logins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that were logged in to, each time."""
    labels: list[str] = []
    log_in = TokenConnection._log_in

    def count_login(connection: TokenConnection) -> Any:
        labels.append(connection._label)
        return log_in(connection)

    monkeypatch.setattr(TokenConnection, "_log_in", count_login)
    return labels


async def sign(backend: KeyBackend, key: BackendKey, message: bytes = b"message") -> None:
    """Sign with the key ``NAME`` and verify the signature."""
    assert key.public_key is not None
    signature = await backend.sign(NAME, key.native_id, ECDSA, message, None)
    assert verify(load_pem_public_key(key.public_key.encode()), ECDSA, message, signature, prehashed=False)


def count_pins(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that receives each PIN that is sent to a token."""
    pins: list[str] = []
    find_token = Pkcs11Module.find_token

    class CountingToken:
        def __init__(self, token: pkcs11.Token) -> None:
            self._token = token

        def __getattr__(self, name: str) -> Any:
            return getattr(self._token, name)

        def open(self, **options: Any) -> pkcs11.Session:
            if "user_pin" in options:
                pins.append(options["user_pin"])
            return self._token.open(**options)

    monkeypatch.setattr(
        Pkcs11Module,
        "find_token",
        lambda module, label: CountingToken(find_token(module, label)),
    )
    return pins


def fail_searches(monkeypatch: pytest.MonkeyPatch, errors: list[pkcs11.PKCS11Error]) -> None:
    """Let each search of the health check raise the next of ``errors``, until there are no more."""

    def fail(*arguments: Any, **criteria: Any) -> Any:
        if errors:
            raise errors.pop(0)
        return search_keys(*arguments, **criteria)

    monkeypatch.setattr(backend_module, "search_keys", fail)
