"""A key provider in a provider process, as the worker uses it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import traceback
from typing import TypeVar

import msgspec

from sealyard.crypto.protocols import ContentCipher
from sealyard.jobs.packets import PacketReader, PacketWriter
from sealyard.keys.provider import Signer
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.errors import (
    InvalidKeyError,
    KeyProviderError,
    KeyProviderUnavailableError,
    NotFoundError,
    error_from_info,
)
from sealyard.model.keys import KeyCapabilities, KeyInfo, KeyVersion
from sealyard.model.provider_messages import (
    CheckSigner,
    CreateProviderCertificateRequest,
    ExportProviderKey,
    GenerateProviderKey,
    GetKeyCapabilities,
    GetKeyInfo,
    ImportProviderCertificate,
    ImportProviderKey,
    ProbeProvider,
    ProviderCommand,
    ProviderRequest,
    ProviderResponse,
    ProviderStarted,
    ProviderToWorker,
    RegisterProviderKey,
    RotateProviderKey,
    SignData,
    UnwrapSecret,
    WrapSecret,
)

REQUEST_TIMEOUT = 60.0  # seconds

_decoder: msgspec.json.Decoder[ProviderToWorker] = msgspec.json.Decoder(ProviderToWorker)

Value = TypeVar("Value")


class ProviderClient:
    """Sends requests to a provider process over a socket of the type SEQPACKET. Used on one event loop only.

    The socket stays open when the process is replaced by another one. Requests that are lost then raise
    :class:`KeyProviderUnavailableError`, as do requests without an answer; they can be repeated.
    """

    def __init__(self, fd: int, name: str) -> None:
        """``fd`` stays open until the worker exits. ``name``: that of the provider in the worker settings."""
        self._reader = PacketReader(fd)
        self._writer = PacketWriter(fd)
        self._name = name
        self._is_started = False
        self._is_closed = False
        self._last_request_id = 0
        self._futures: dict[int, asyncio.Future[ProviderResponse]] = {}

    def start(self) -> None:
        """Start the reader thread. Must be called on the event loop that sends the requests."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name=f"provider-{self._name}", daemon=True).start()

    async def close(self) -> None:
        """Fail all requests, and send no more."""
        self._end()

    async def probe(self) -> None:
        await self._request(ProbeProvider())

    async def get_capabilities(self, name: str) -> KeyCapabilities:
        return self._require((await self._request(GetKeyCapabilities(name=name))).capabilities)

    async def get_info(self, name: str) -> KeyInfo:
        return self._require((await self._request(GetKeyInfo(name=name))).key)

    async def register(self, name: str, kind: KeyType, purpose: KeyPurpose, certificate: bytes | None) -> KeyInfo:
        command = RegisterProviderKey(name=name, kind=kind, purpose=purpose, certificate=certificate)
        return self._require((await self._request(command)).key)

    async def generate(self, name: str, kind: KeyType, purpose: KeyPurpose, subject: str) -> KeyInfo:
        command = GenerateProviderKey(name=name, kind=kind, purpose=purpose, subject=subject)
        return self._require((await self._request(command)).key)

    async def import_key(
        self,
        name: str,
        content: bytes,
        kind: KeyType,
        purpose: KeyPurpose,
        password: str | None,
        certificate: bytes | None,
    ) -> KeyInfo:
        command = ImportProviderKey(
            name=name, content=content, kind=kind, purpose=purpose, password=password, certificate=certificate
        )
        return self._require((await self._request(command)).key)

    async def rotate(self, name: str) -> KeyVersion:
        return self._require((await self._request(RotateProviderKey(name=name))).version)

    async def import_certificate(self, name: str, version: int, content: bytes) -> KeyVersion:
        command = ImportProviderCertificate(name=name, version=version, content=content)
        return self._require((await self._request(command)).version)

    async def create_certificate_request(self, name: str, version: int) -> str:
        command = CreateProviderCertificateRequest(name=name, version=version)
        return self._require((await self._request(command)).text)

    async def signer(self, name: str, version: int, algorithm: SigningAlgorithm, *, prehashed: bool = False) -> Signer:
        key = CheckSigner(name=name, version=version, algorithm=algorithm, prehashed=prehashed)
        await self._request(key)
        return ProviderSigner(self, key)

    async def cipher(self, name: str, version: int, algorithm: EncryptionAlgorithm) -> ContentCipher:
        """Raise an error: firmware is not sent through a provider process."""
        info = await self.get_info(name)
        if info.version(version) is None:
            raise NotFoundError(f"{info.uri} has no version {version}.", "Use another version.")
        raise InvalidKeyError(f"{info.uri} cannot encrypt with {algorithm}.", "Use a local key for encryption.")

    async def wrap(self, name: str, version: int, secret: bytes, associated_data: bytes) -> bytes:
        command = WrapSecret(name=name, version=version, secret=secret, associated_data=associated_data)
        return self._require((await self._request(command)).data)

    async def unwrap(self, name: str, version: int, wrapped: bytes, associated_data: bytes) -> bytes:
        command = UnwrapSecret(name=name, version=version, wrapped=wrapped, associated_data=associated_data)
        return self._require((await self._request(command)).data)

    async def export_symmetric(self, name: str, version: int) -> bytes:
        return self._require((await self._request(ExportProviderKey(name=name, version=version))).data)

    async def sign(self, key: CheckSigner, data: bytes) -> bytes:
        """Return the signature of ``data`` by ``key``, with the algorithm that it names."""
        command = SignData(
            name=key.name, version=key.version, algorithm=key.algorithm, prehashed=key.prehashed, data=data
        )
        return self._require((await self._request(command)).data)

    async def _request(self, command: ProviderCommand) -> ProviderResponse:
        if self._is_closed:
            raise self._unavailable_error("has ended")
        self._last_request_id += 1
        request = ProviderRequest(request_id=self._last_request_id, command=command)
        future: asyncio.Future[ProviderResponse] = asyncio.get_running_loop().create_future()
        self._futures[request.request_id] = future
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                # In a thread, because a provider that hangs does not read.
                await asyncio.to_thread(self._writer.send, msgspec.json.encode(request))
                response = await future
        except TimeoutError:
            raise self._unavailable_error("does not answer") from None
        except OSError as error:
            raise self._unavailable_error("has ended") from error
        finally:
            del self._futures[request.request_id]
        if response.error is not None:
            raise error_from_info(response.error)
        return response

    def _dispatch(self, message: ProviderToWorker) -> None:
        if isinstance(message, ProviderStarted):
            if self._is_started:
                self._fail_requests()
            self._is_started = True
            return
        future = self._futures.get(message.request_id)
        if future is not None and not future.done():
            future.set_result(message)

    def _fail_requests(self) -> None:
        for future in self._futures.values():
            if not future.done():
                future.set_exception(self._unavailable_error("has ended"))

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while message := self._reader.read():
                loop.call_soon_threadsafe(self._dispatch, _decoder.decode(message))
        except (OSError, ValueError):
            traceback.print_exc()
        # The loop is closed if the worker exits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._is_closed = True
        self._fail_requests()

    def _require(self, value: Value | None) -> Value:
        if value is None:
            raise KeyProviderError(f"The key provider {self._name} did not return a result.", "See the worker log.")
        return value

    def _unavailable_error(self, problem: str) -> KeyProviderUnavailableError:
        return KeyProviderUnavailableError(
            f"The process of the key provider {self._name} {problem}.", "Try again; it is started again automatically."
        )


class ProviderSigner:
    """A signing key of a provider process, bound to one signature algorithm."""

    def __init__(self, client: ProviderClient, key: CheckSigner) -> None:
        self._client = client
        self._key = key

    async def sign(self, data: bytes) -> bytes:
        return await self._client.sign(self._key, data)
