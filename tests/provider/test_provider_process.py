"""Tests of the provider process: the contract through a connection, lost and invalid requests, and its end."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import msgspec
import pytest

from sealyard.concurrency.loop_thread import LoopThread, proxy_to_thread
from sealyard.jobs.packets import PacketReader, PacketWriter
from sealyard.keys.provider import KeyProvider, Signer
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidKeyError, KeyProviderError, KeyProviderUnavailableError
from sealyard.model.provider_messages import (
    GetKeyInfo,
    ProviderFailed,
    ProviderReady,
    ProviderRequest,
    ProviderResponse,
    ProviderStarted,
    ProviderToWorker,
)
from sealyard.model.provider_settings import Secrets
from sealyard.worker import provider_client
from sealyard.worker.provider_client import ProviderClient
from tests.keys.capability_contract import CapabilityContract
from tests.keys.provider_contract import PACKAGE, ProviderContract
from tests.support.provider_process import MASTER_KEY, ProviderProcess, local_settings

pytestmark = pytest.mark.anyio

PIN = "canary-1234"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ProviderProcess]:
    process = ProviderProcess()
    assert isinstance(process.open(local_settings(tmp_path / "keys")), ProviderReady)
    yield process
    process.close()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The worker's and the provider's end of a connection."""
    worker_end, provider_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with worker_end, provider_end:
        yield worker_end, provider_end


class ClientThread:
    """Runs the client on a loop of its own, because the contract starts a new loop for every step."""

    def __init__(self, client: ProviderClient, thread: LoopThread) -> None:
        self._client = client
        self._thread = thread
        self._proxy = proxy_to_thread(client, thread)

    def __getattr__(self, name: str) -> object:
        return getattr(self._proxy, name)

    async def signer(self, name: str, version: int, algorithm: SigningAlgorithm, *, prehashed: bool = False) -> Signer:
        signer = await self._thread.call(self._client.signer(name, version, algorithm, prehashed=prehashed))
        return proxy_to_thread(signer, self._thread)


@pytest.fixture
def provider(process: ProviderProcess, ends: tuple[socket.socket, socket.socket]) -> Iterator[KeyProvider]:
    process.connect(ends[1])
    thread = LoopThread("client")
    client = ProviderClient(ends[0].fileno(), "test")
    asyncio.run(thread.call(start(client)))
    yield cast(KeyProvider, ClientThread(client, thread))
    thread.stop()


async def start(client: ProviderClient) -> None:
    client.start()


class TestProviderProcess(ProviderContract, CapabilityContract):
    pass


def test_content_is_not_encrypted_by_the_process(provider: KeyProvider) -> None:
    async def scenario() -> None:
        await provider.generate("encrypts", KeyType.AES_256, PACKAGE, "")
        with pytest.raises(InvalidKeyError, match="cannot encrypt"):
            await provider.cipher("encrypts", 1, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)

    asyncio.run(scenario())


# ---- processes that end


@contextmanager
def second_process(folder: Path) -> Iterator[ProviderProcess]:
    process = ProviderProcess()
    try:
        assert isinstance(process.open(local_settings(folder)), ProviderReady)
        yield process
    finally:
        process.close()


def test_next_process_takes_over_the_connection(
    process: ProviderProcess, provider: KeyProvider, ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    async def scenario() -> None:
        info = await provider.generate("generated-key", KeyType.ED25519, PACKAGE, "name")
        signer = await provider.signer("generated-key", 1, SigningAlgorithm.ED25519)
        signature = await signer.sign(b"message")
        os.kill(process.process.pid, signal.SIGSTOP)
        request = asyncio.create_task(cast(Coroutine[None, None, bytes], signer.sign(b"message")))
        await asyncio.to_thread(wait_until_readable, ends[1])
        process.process.kill()
        process.process.wait()
        with second_process(tmp_path / "keys") as successor:
            successor.connect(ends[1])
            with pytest.raises(KeyProviderUnavailableError, match="key provider test has ended"):
                await request
            assert await signer.sign(b"message") == signature
            assert await provider.get_info("generated-key") == info

    asyncio.run(scenario())


def wait_until_readable(connection: socket.socket) -> None:
    select.select([connection], [], [])


async def test_request_without_answer_times_out(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provider_client, "REQUEST_TIMEOUT", 0.05)
    client = ProviderClient(ends[0].fileno(), "test")
    client.start()
    with pytest.raises(KeyProviderUnavailableError, match="does not answer"):
        await client.probe()


async def test_closed_connection_fails_requests(ends: tuple[socket.socket, socket.socket]) -> None:
    client = ProviderClient(ends[0].fileno(), "test")
    client.start()
    request = asyncio.create_task(client.probe())
    await asyncio.to_thread(PacketReader(ends[1].fileno()).read)
    ends[1].close()
    for operation in (request, client.probe()):
        with pytest.raises(KeyProviderUnavailableError, match="has ended"):
            await operation


async def test_response_without_result_is_an_error(ends: tuple[socket.socket, socket.socket]) -> None:
    client = ProviderClient(ends[0].fileno(), "test")
    client.start()
    request = asyncio.create_task(client.get_info("a"))
    await asyncio.to_thread(PacketReader(ends[1].fileno()).read)
    PacketWriter(ends[1].fileno()).send(msgspec.json.encode(ProviderResponse(request_id=1)))
    with pytest.raises(KeyProviderError, match="did not return a result"):
        await request


# ---- messages of the key holder, and invalid requests


def test_process_exits_when_the_key_holder_closes_its_end(process: ProviderProcess) -> None:
    assert process.close() == 0


def test_process_exits_after_invalid_first_message() -> None:
    process = ProviderProcess()
    process.control.send(b'{"type":"ConnectWorker"}')
    assert process.wait() == 2


def test_invalid_settings_are_reported_without_secrets(tmp_path: Path) -> None:
    request = local_settings(tmp_path / "keys")
    secrets = Secrets(values={"pin": PIN.encode()})
    for settings, message in (
        (msgspec.structs.replace(request.settings, options={"pin": PIN}), "unknown field `pin`"),
        (request.settings, "no secret named master-key"),
        (msgspec.structs.replace(request.settings, provider="unknown"), "Unknown key scheme"),
    ):
        process = ProviderProcess()
        answer = process.open(msgspec.structs.replace(request, settings=settings, secrets=secrets))
        assert isinstance(answer, ProviderFailed)
        assert message in answer.error.message
        assert PIN not in repr(answer)
        assert process.wait() == 0


def test_secrets_are_not_in_arguments_and_environment(process: ProviderProcess) -> None:
    folder = Path(f"/proc/{process.process.pid}")
    assert MASTER_KEY.hex().encode() not in (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
    assert len((folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")) == 5


@pytest.mark.parametrize(
    "request_bytes", [b"{}", b"a", b'{"type":"ProviderRequest","requestId":1,"command":{"type":"x"}}']
)
def test_invalid_request_ends_its_connection_only(
    process: ProviderProcess, provider: KeyProvider, request_bytes: bytes
) -> None:
    worker_end, provider_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with worker_end:
        with provider_end:
            process.connect(provider_end)
        reader, writer = PacketReader(worker_end.fileno()), PacketWriter(worker_end.fileno())
        assert decode(reader.read()) == ProviderStarted()
        writer.send(msgspec.json.encode(ProviderRequest(request_id=7, command=GetKeyInfo(name="unknown"))))
        response = decode(reader.read())
        assert isinstance(response, ProviderResponse)
        assert (response.request_id, response.error and response.error.code) == (7, "not-found")
        writer.send(request_bytes)
        assert reader.read() is None
    asyncio.run(provider.probe())


_decoder: msgspec.json.Decoder[ProviderToWorker] = msgspec.json.Decoder(ProviderToWorker)


def decode(message: bytes | None) -> ProviderToWorker:
    assert message is not None
    return _decoder.decode(message)
