"""Tests of the provider process: the contract through a connection, lost and invalid requests, and its end."""

from __future__ import annotations

import asyncio
import base64
import select
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealyard.concurrency.loop_thread import LoopThread, proxy_to_thread
from sealyard.jobs.packets import PacketReader, PacketWriter
from sealyard.keys.backend import KeyBackend
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.errors import (
    KeyProviderError,
    KeyProviderUnavailableError,
)
from sealyard.model.provider_messages import (
    DescribeBackendKey,
    ProviderFailed,
    ProviderReady,
    ProviderRequest,
    ProviderResponse,
    ProviderStarted,
    ProviderToWorker,
    ProviderUnavailable,
)
from sealyard.model.provider_settings import Secrets
from sealyard.worker import provider_client
from sealyard.worker.provider_client import ProviderClient
from tests.keys.backend_contract import BackendContract
from tests.support.key_backends.file_key_backend import StoredKey
from tests.support.limits import TIMEOUT
from tests.support.processes import suspend
from tests.support.provider_process import EXIT_TIMEOUT, PIN, ProviderProcess, file_backend_settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ProviderProcess]:
    process = ProviderProcess()
    assert isinstance(process.open(file_backend_settings(tmp_path / "keys")), ProviderReady)
    yield process
    process.close()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The worker's and the provider's end of a connection."""
    worker_end, provider_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with worker_end, provider_end:
        yield worker_end, provider_end


@pytest.fixture
def backend(process: ProviderProcess, ends: tuple[socket.socket, socket.socket]) -> Iterator[KeyBackend]:
    process.connect(ends[1])
    thread = LoopThread("client")
    client = ProviderClient(ends[0].fileno(), "test")
    asyncio.run(thread.call(start(client)))
    yield proxy_to_thread(client, thread)
    thread.stop()


async def start(client: ProviderClient) -> None:
    client.start()


class TestProviderProcess(BackendContract):
    SIGNING_KINDS = tuple(kind for kind in KeyType if not kind.symmetric)

    @pytest.fixture(autouse=True)
    def open_process(self, process: ProviderProcess) -> Iterator[None]:
        self.process = process
        with ExitStack() as self.worker_ends:
            yield

    @asynccontextmanager
    async def open_backend(self) -> AsyncIterator[KeyBackend]:
        worker_end, provider_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.worker_ends.enter_context(worker_end)
        with provider_end:
            self.process.connect(provider_end)
        client = ProviderClient(worker_end.fileno(), "test")
        client.start()
        yield client
        worker_end.shutdown(socket.SHUT_RDWR)

    def name_key(self, label: str) -> str:
        return label


async def test_long_response_raises_error(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    key = msgspec.json.encode({"kind": KeyType.AES_256, "versions": [bytes(32)]})
    for number in range(20_000):
        (tmp_path / "keys" / f"{'k' * 200}{number}.json").write_bytes(key)
    with second_process(tmp_path / "keys") as process:
        process.connect(ends[1])
        client = ProviderClient(ends[0].fileno(), "test")
        client.start()
        with pytest.raises(KeyProviderError, match="too long"):
            await client.list_keys()
        await client.probe()


class MessageRecorder:
    def __init__(self) -> None:
        self.received = b""

    def decode(self, message: bytes) -> ProviderToWorker:
        self.received += message
        return _decoder.decode(message)


async def test_connection_carries_no_private_key(
    backend: KeyBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = MessageRecorder()
    monkeypatch.setattr(provider_client, "_decoder", recorder)
    await backend.generate("signs", KeyType.ED25519)
    await backend.sign("signs", "1", SigningAlgorithm.ED25519, b"message", None)
    await backend.generate("wraps", KeyType.AES_256)
    await backend.wrap("wraps", "1", b"secret", b"context")
    await backend.list_keys()
    assert b"signs" in recorder.received
    for path in (tmp_path / "keys").glob("*.json"):
        (key,) = msgspec.json.decode(path.read_bytes(), type=StoredKey).versions
        secret = key[-32:]
        for encoded in (secret.hex().encode(), base64.b64encode(secret), base64.b64encode(key)):
            assert encoded[:40] not in recorder.received


# ---- processes that end


@contextmanager
def second_process(folder: Path) -> Iterator[ProviderProcess]:
    process = ProviderProcess()
    try:
        assert isinstance(process.open(file_backend_settings(folder)), ProviderReady)
        yield process
    finally:
        process.close()


async def test_next_process_takes_over_the_connection(
    process: ProviderProcess, backend: KeyBackend, ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    def sign() -> Coroutine[None, None, bytes]:
        return backend.sign("key", "1", SigningAlgorithm.ED25519, b"message", None)

    _, key = await backend.generate("key", KeyType.ED25519)
    signature = await sign()
    suspend(process.process.pid)
    request = asyncio.create_task(sign())
    await asyncio.to_thread(wait_until_readable, ends[1])
    process.process.kill()
    process.process.wait()
    with second_process(tmp_path / "keys") as successor:
        successor.connect(ends[1])
        with pytest.raises(KeyProviderUnavailableError, match="key provider test has ended"):
            await request
        assert await sign() == signature
        assert await backend.describe("key") == key


def wait_until_readable(connection: socket.socket) -> None:
    assert select.select([connection], [], [], TIMEOUT)[0], "nothing was sent"


def read_packet(connection: socket.socket) -> bytes | None:
    wait_until_readable(connection)
    return PacketReader(connection.fileno()).read()


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
    await asyncio.to_thread(read_packet, ends[1])
    ends[1].close()
    for operation in (request, client.probe()):
        with pytest.raises(KeyProviderUnavailableError, match="has ended"):
            await operation


async def test_response_without_result_is_an_error(ends: tuple[socket.socket, socket.socket]) -> None:
    client = ProviderClient(ends[0].fileno(), "test")
    client.start()
    request = asyncio.create_task(client.describe("a"))
    await asyncio.to_thread(read_packet, ends[1])
    PacketWriter(ends[1].fileno()).send(msgspec.json.encode(ProviderResponse(request_id=1)))
    with pytest.raises(KeyProviderError, match="did not return a result"):
        await request


async def test_key_holder_error_fails_requests(ends: tuple[socket.socket, socket.socket]) -> None:
    def send(message: ProviderToWorker) -> None:
        PacketWriter(ends[1].fileno()).send(msgspec.json.encode(message))

    client = ProviderClient(ends[0].fileno(), "test")
    client.start()
    request = asyncio.create_task(client.probe())
    await asyncio.to_thread(read_packet, ends[1])
    send(ProviderUnavailable(error=KeyProviderError("The PIN is wrong.", "Correct it.").to_info()))
    for operation in (request, client.probe(), client.list_keys()):
        with pytest.raises(KeyProviderError, match="The PIN is wrong"):
            await operation
    send(ProviderStarted())
    async with asyncio.timeout(EXIT_TIMEOUT):
        while (error := await find_error(client)) and "PIN" in error:
            await asyncio.sleep(0)


async def find_error(client: ProviderClient) -> str:
    """Return the error of a request, or an empty string if the request was sent."""
    request = asyncio.create_task(client.probe())
    await asyncio.sleep(0)
    if not request.done():
        request.cancel()
        return ""
    return str(request.exception())


async def test_abandoned_requests_are_not_sent(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that hangs reads nothing, so that long requests fill the buffer of the socket."""
    client = ProviderClient(ends[0].fileno(), "test")
    client.start()
    monkeypatch.setattr(provider_client, "REQUEST_TIMEOUT", 0.2)
    for _ in range(3):
        with pytest.raises(KeyProviderUnavailableError, match="does not answer"):
            await client.sign("a", "1", SigningAlgorithm.ED25519, bytes(2**20), None)
    monkeypatch.setattr(provider_client, "REQUEST_TIMEOUT", EXIT_TIMEOUT)
    request = asyncio.create_task(client.probe())
    await asyncio.sleep(0)
    received = list[int]()
    while 4 not in received:
        message = await asyncio.to_thread(read_packet, ends[1])
        received.append(msgspec.json.decode(message or b"", type=ProviderRequest).request_id)
    assert received == [1, 4]
    PacketWriter(ends[1].fileno()).send(msgspec.json.encode(ProviderResponse(request_id=4)))
    await request


# ---- messages of the key holder, and invalid requests


def test_closed_control_socket_ends_process(process: ProviderProcess) -> None:
    assert process.close() == 0


def test_process_exits_after_invalid_first_message() -> None:
    process = ProviderProcess()
    process.control.send(b'{"type":"ConnectWorker"}')
    assert process.wait() == 2


def test_invalid_settings_are_reported_without_secrets(tmp_path: Path) -> None:
    request = file_backend_settings(tmp_path / "keys")
    pin, wrong_pin = ({"pin": value.encode()} for value in (PIN, f"{PIN}5"))
    for settings, secrets, message in (
        (msgspec.structs.replace(request.settings, options={"pin": PIN}), pin, "test has no option pin"),
        (request.settings, {}, "no secret named pin"),
        (request.settings, wrong_pin, "PIN of test is wrong"),
        (msgspec.structs.replace(request.settings, provider="unknown"), pin, "Unknown key scheme 'unknown'"),
    ):
        process = ProviderProcess()
        changes: dict[str, Any] = {"settings": settings, "secrets": Secrets(values=secrets)}
        answer = process.open(msgspec.structs.replace(request, **changes))
        assert isinstance(answer, ProviderFailed)
        assert message in answer.error.message
        assert PIN not in repr(answer)
        assert process.wait() == 0


def test_secrets_are_not_in_arguments_and_environment(process: ProviderProcess) -> None:
    folder = Path(f"/proc/{process.process.pid}")
    assert PIN.encode() not in (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
    assert len((folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")) == 5


@pytest.mark.parametrize(
    "request_bytes", [b"{}", b"a", b'{"type":"ProviderRequest","requestId":1,"command":{"type":"x"}}']
)
def test_invalid_request_ends_its_connection_only(
    process: ProviderProcess, backend: KeyBackend, request_bytes: bytes
) -> None:
    worker_end, provider_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with worker_end:
        with provider_end:
            process.connect(provider_end)
        reader, writer = PacketReader(worker_end.fileno()), PacketWriter(worker_end.fileno())
        assert decode(reader.read()) == ProviderStarted()
        writer.send(msgspec.json.encode(ProviderRequest(request_id=7, command=DescribeBackendKey(name="unknown"))))
        response = decode(reader.read())
        assert isinstance(response, ProviderResponse)
        assert (response.request_id, response.error and response.error.code) == (7, "not-found")
        writer.send(request_bytes)
        assert reader.read() is None
    asyncio.run(backend.probe())


_decoder: msgspec.json.Decoder[ProviderToWorker] = msgspec.json.Decoder(ProviderToWorker)


def decode(message: bytes | None) -> ProviderToWorker:
    assert message is not None
    return _decoder.decode(message)
