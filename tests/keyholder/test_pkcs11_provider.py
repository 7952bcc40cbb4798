"""Tests of the confined process of a PKCS#11 provider: SoftHSM, directly and behind ``p11-kit server``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sealyard.crypto.signatures import verify
from sealyard.keys.backend import KeyBackend
from sealyard.keys.worker_settings import ProviderSection, SecretSource
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey
from sealyard.model.errors import KeyProviderError, KeyProviderUnavailableError
from sealyard.model.provider_settings import ProcessSettings
from tests.keyholder.test_providers import Providers
from tests.support.limits import TIMEOUT
from tests.support.p11_kit import TokenServer, server_socket, token_server
from tests.support.softhsm import PIN, TOKEN, SoftHsm, make_settings, own_softhsm

__all__ = ["own_softhsm", "server_socket", "token_server"]

pytestmark = pytest.mark.anyio

NAME = f"token={TOKEN};object=gateway-sign"
ECDSA = SigningAlgorithm.SHA256_ECDSA


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Providers]]:
    started: list[Providers] = []
    pin_file = tmp_path / "pin"
    pin_file.write_text(PIN)
    pin_file.chmod(0o600)

    def start(module: str, process: ProcessSettings) -> Providers:
        section = ProviderSection(
            settings=make_settings(module), process=process, secret_sources={"pin": SecretSource(file=str(pin_file))}
        )
        started.append(Providers(section, tmp_path))
        return started[-1]

    yield start
    for providers in started:
        providers.close()


async def sign(backend: KeyBackend, key: BackendKey) -> None:
    assert key.public_key is not None
    signature = await backend.sign(NAME, key.native_id, ECDSA, b"message", None)
    assert verify(load_pem_public_key(key.public_key.encode()), ECDSA, b"message", signature, prehashed=False)


async def test_confined_process_uses_token(own_softhsm: SoftHsm, start: Callable[..., Providers]) -> None:
    paths = (str(own_softhsm.config), str(own_softhsm.tokens))
    client = start(own_softhsm.module, ProcessSettings(paths=paths, environment=own_softhsm.environment)).connect()
    _, key = await client.generate(NAME, KeyType.EC_P256)
    await sign(client, key)
    assert (await client.rotate(NAME)).native_id != key.native_id
    wrapping_name, wrapping_key = await client.generate(f"token={TOKEN};object=wraps", KeyType.AES_256)
    wrapped = await client.wrap(wrapping_name, wrapping_key.native_id, b"secret", b"context")
    assert await client.unwrap(wrapping_name, wrapping_key.native_id, wrapped, b"context") == b"secret"


async def test_unreadable_token_is_reported(own_softhsm: SoftHsm, start: Callable[..., Providers]) -> None:
    client = start(own_softhsm.module, ProcessSettings(environment=own_softhsm.environment)).connect()
    with pytest.raises(KeyProviderError) as caught:
        await client.probe()
    assert caught.value.hint
    assert PIN not in str(caught.value)


async def test_killed_token_server_is_connected_again(
    token_server: TokenServer, start: Callable[..., Providers]
) -> None:
    process = ProcessSettings(
        paths=(str(token_server.socket.parent),), environment=token_server.environment, unix_sockets=True
    )
    providers = start(token_server.module, process)
    client = providers.connect()
    _, key = await client.generate(NAME, KeyType.EC_P256)
    token_server.kill()
    with pytest.raises(KeyProviderUnavailableError, match="token seal"):
        await sign(client, key)
    pid = providers.supervisor.pid
    token_server.start()
    async with asyncio.timeout(TIMEOUT):
        await sign(client, key)
    assert providers.supervisor.pid == pid
