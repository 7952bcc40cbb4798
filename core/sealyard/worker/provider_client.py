"""The key backend of a provider process, as the worker uses it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
import traceback
from typing import TypeVar

import msgspec

from sealyard.jobs.packets import PacketReader, PacketWriter
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey, ListedKey
from sealyard.model.errors import ErrorInfo, KeyProviderError, KeyProviderUnavailableError, error_from_info
from sealyard.model.provider_messages import (
    BackendCommand,
    DescribeBackendKey,
    GenerateBackendKey,
    ListKeys,
    ProbeBackend,
    ProviderRequest,
    ProviderResponse,
    ProviderStarted,
    ProviderToWorker,
    ProviderUnavailable,
    ResolveKeyName,
    RotateBackendKey,
    SignData,
    UnwrapSecret,
    WrapSecret,
)

REQUEST_TIMEOUT = 45.0
"""Time in seconds that a provider process has to answer: less than a worker has to answer the engine."""

_decoder: msgspec.json.Decoder[ProviderToWorker] = msgspec.json.Decoder(ProviderToWorker)

Value = TypeVar("Value")


class ProviderClient:
    """Implements :class:`sealyard.keys.backend.KeyBackend` over a socket of the type SEQPACKET to a provider process.

    Used on one event loop only.

    The socket stays open when the process is replaced by another one. Requests that are lost then raise
    :class:`KeyProviderUnavailableError`, as do requests without an answer and while no process runs; they can be
    repeated. If the key holder starts no other process, requests raise the error that it reports.
    """

    def __init__(self, fd: int, name: str) -> None:
        """``fd`` must be open until :meth:`start`. ``name``: that of the provider in the worker settings."""
        self._fd = fd
        self._name = name
        self._is_started = False
        self._error: ErrorInfo | None = None
        """Why no process uses the other end of the socket; None if one does, or will soon for the first time."""
        self._last_request_id = 0
        self._requests: queue.SimpleQueue[ProviderRequest | None] = queue.SimpleQueue()
        self._futures: dict[int, asyncio.Future[ProviderResponse]] = {}

    def start(self) -> None:
        """Start the threads. Must be called on the event loop that sends the requests.

        The threads are not those of the event loop, because a provider that hangs does not read. Each has a descriptor
        of its own: if another one closed it, the thread could continue with the next file of this number.
        """
        reader_arguments, writer_arguments = (asyncio.get_running_loop(), os.dup(self._fd)), (os.dup(self._fd),)
        threading.Thread(target=self._read, args=reader_arguments, name=f"provider-{self._name}", daemon=True).start()
        threading.Thread(
            target=self._write, args=writer_arguments, name=f"provider-{self._name}-requests", daemon=True
        ).start()

    async def close(self) -> None:
        """Fail all requests, and send no more."""
        self._end()

    async def probe(self) -> None:
        await self._request(ProbeBackend())

    async def list_keys(self) -> tuple[ListedKey, ...]:
        return self._require((await self._request(ListKeys())).keys)

    async def resolve(self, name: str) -> str:
        return self._require((await self._request(ResolveKeyName(name=name))).name)

    async def describe(self, name: str) -> BackendKey:
        return self._require((await self._request(DescribeBackendKey(name=name))).key)

    async def generate(self, name: str, kind: KeyType) -> tuple[str, BackendKey]:
        response = await self._request(GenerateBackendKey(name=name, kind=kind))
        return self._require(response.name), self._require(response.key)

    async def rotate(self, name: str) -> BackendKey:
        return self._require((await self._request(RotateBackendKey(name=name))).key)

    async def sign(
        self, name: str, native_id: str, algorithm: SigningAlgorithm, data: bytes, digest: HashName | None
    ) -> bytes:
        command = SignData(name=name, native_id=native_id, algorithm=algorithm, data=data, digest=digest)
        return self._require((await self._request(command)).data)

    async def wrap(self, name: str, native_id: str, secret: bytes, associated_data: bytes) -> bytes:
        command = WrapSecret(name=name, native_id=native_id, secret=secret, associated_data=associated_data)
        return self._require((await self._request(command)).data)

    async def unwrap(self, name: str, native_id: str, wrapped: bytes, associated_data: bytes) -> bytes:
        command = UnwrapSecret(name=name, native_id=native_id, wrapped=wrapped, associated_data=associated_data)
        return self._require((await self._request(command)).data)

    async def _request(self, command: BackendCommand) -> ProviderResponse:
        if self._error is not None:
            raise error_from_info(self._error)
        self._last_request_id += 1
        request = ProviderRequest(request_id=self._last_request_id, command=command)
        future: asyncio.Future[ProviderResponse] = asyncio.get_running_loop().create_future()
        self._futures[request.request_id] = future
        self._requests.put(request)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                response = await future
        except TimeoutError:
            raise self._unavailable_error("does not answer") from None
        finally:
            del self._futures[request.request_id]
        if response.error is not None:
            raise error_from_info(response.error)
        return response

    def _dispatch(self, message: ProviderToWorker) -> None:
        match message:
            case ProviderStarted():
                if self._is_started:
                    self._fail_requests(self._unavailable_error("has ended").to_info())
                self._is_started, self._error = True, None
            case ProviderUnavailable(error=error):
                self._fail_requests(error)
                self._error = error
            case ProviderResponse(request_id=request_id):
                future = self._futures.get(request_id)
                if future is not None and not future.done():
                    future.set_result(message)

    def _fail_requests(self, error: ErrorInfo) -> None:
        for future in self._futures.values():
            if not future.done():
                future.set_exception(error_from_info(error))

    def _write(self, fd: int) -> None:
        """Send the requests that are still wanted. The reader thread notices if the connection is closed."""
        writer = PacketWriter(fd)
        with contextlib.suppress(OSError):
            while (request := self._requests.get()) is not None:
                if request.request_id in self._futures:
                    writer.send(msgspec.json.encode(request))
        os.close(fd)

    def _read(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        reader = PacketReader(fd)
        try:
            while message := reader.read():
                loop.call_soon_threadsafe(self._dispatch, _decoder.decode(message))
        except (OSError, ValueError):
            traceback.print_exc()
        finally:
            os.close(fd)
        # The loop is closed if the worker exits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._error = self._unavailable_error("has ended").to_info()
        self._fail_requests(self._error)
        self._requests.put(None)

    def _require(self, value: Value | None) -> Value:
        if value is None:
            raise KeyProviderError(f"The key provider {self._name} did not return a result.", "See the worker log.")
        return value

    def _unavailable_error(self, problem: str) -> KeyProviderUnavailableError:
        return KeyProviderUnavailableError(
            f"The process of the key provider {self._name} {problem}.", "Try again; it is started again automatically."
        )
