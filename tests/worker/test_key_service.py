"""Tests of key commands that take too long, and of keys that cannot wrap or be wrapped."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import msgspec
import pytest

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.errors import InvalidKeyError, KeyProviderUnavailableError, SealyardError
from sealyard.model.key_commands import GenerateKey, ImportKey, KeyCommand, RegisterKey
from sealyard.model.provider_routes import ProviderRoute
from sealyard.worker import key_service
from sealyard.worker.key_service import KeyService
from tests.support.worker_harness import WorkerWorkspace

pytestmark = pytest.mark.anyio


@pytest.fixture
def provider_ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The worker's end of the connection to a provider that never answers, and the other end."""
    worker_end, provider_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with worker_end, provider_end:
        yield worker_end, provider_end
        worker_end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
async def keys(workspace: WorkerWorkspace, provider_ends: tuple[socket.socket, socket.socket]) -> KeyService:
    routes = (ProviderRoute(section="seal", scheme="files"),)
    request = msgspec.structs.replace(workspace.open_keys, providers=routes)
    keys = KeyService(request, provider_fds=(provider_ends[0].fileno(),))
    keys.start()
    return keys


async def test_command_that_takes_too_long_fails(keys: KeyService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_service, "COMMAND_TIMEOUT", 0.05)
    command = RegisterKey(uri="files:a", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, created_by="USER:a")
    with pytest.raises(KeyProviderUnavailableError, match="did not finish in time"):
        await keys.handle(1, command)


def generate(uri: str, kind: KeyType, wrapping_key: str) -> GenerateKey:
    return GenerateKey(
        uri=uri, kind=kind, purpose=KeyPurpose.BOTH, subject="a", created_by="USER:a", wrapping_key=wrapping_key
    )


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (generate("files:a", KeyType.AES_256, "files:wraps"), "Only local keys can be wrapped"),
        (generate("local:a", KeyType.AES_256, "local:content"), "protects no other key"),
        (generate("local:a", KeyType.ED25519, "files:wraps"), "signing key, which cannot be wrapped"),
        (
            ImportKey(
                uri="local:a",
                content=bytes(range(32)),
                kind=KeyType.AES_256,
                purpose=KeyPurpose.BOTH,
                created_by="USER:a",
                wrapping_key="local:content",
            ),
            "protects no other key",
        ),
    ],
)
async def test_unsuitable_keys_cannot_be_wrapped(
    keys: KeyService, workspace: WorkerWorkspace, command: KeyCommand, message: str
) -> None:
    with pytest.raises(InvalidKeyError, match=message):
        await keys.handle(1, command)
    assert not (workspace.paths.keys / "local" / "a").exists()


async def test_commands_wait_concurrently_for_provider(keys: KeyService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_service, "COMMAND_TIMEOUT", 0.2)
    commands = [
        RegisterKey(uri=f"files:{number}", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, created_by="USER:a")
        for number in range(5)
    ]
    async with asyncio.timeout(10):
        results = await asyncio.gather(
            *(keys.handle(number, command) for number, command in enumerate(commands)), return_exceptions=True
        )
    assert {type(result) for result in results if isinstance(result, SealyardError)} == {KeyProviderUnavailableError}
