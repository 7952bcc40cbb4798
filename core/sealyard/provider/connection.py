"""The provider's end of the connection to one worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import traceback

import msgspec

from sealyard.jobs.packets import MAX_MESSAGE_BYTES, PacketReader, PacketWriter
from sealyard.keys.backend import KeyBackend
from sealyard.model.errors import InvalidInputError, KeyProviderError, SealyardError
from sealyard.model.provider_messages import ProviderRequest, ProviderResponse, ProviderStarted
from sealyard.provider.commands import execute

_decoder = msgspec.json.Decoder(ProviderRequest)


class WorkerConnection:
    """Receives the requests of a worker through a reader thread, and executes them on the event loop, several at once.

    A request that is not valid ends the connection: a worker sends none.
    """

    def __init__(self, fd: int, backend: KeyBackend) -> None:
        self._fd = fd
        self._backend = backend
        self._writer = PacketWriter(fd)
        self._tasks: dict[asyncio.Task[None], float] = {}
        """The requests that are being executed, with the times of their start."""
        self.is_closed = False

    @property
    def oldest_request_seconds(self) -> float:
        """How long the oldest request has been running; 0 if there is none."""
        return time.monotonic() - min(self._tasks.values()) if self._tasks else 0.0

    def start(self) -> None:
        """Start the reader thread. Must be called on the event loop that executes the requests."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="worker", daemon=True).start()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        reader = PacketReader(self._fd)
        try:
            self._writer.send(msgspec.json.encode(ProviderStarted()))
            while message := reader.read():
                loop.call_soon_threadsafe(self._dispatch, _decoder.decode(message))
        except (OSError, ValueError):
            traceback.print_exc()
        finally:
            loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        """Close the socket as soon as no request uses it any more."""
        if self._tasks:
            next(iter(self._tasks)).add_done_callback(lambda _: self._close())
            return
        os.close(self._fd)
        self.is_closed = True

    def _dispatch(self, request: ProviderRequest) -> None:
        task = asyncio.create_task(self._execute(request))
        self._tasks[task] = time.monotonic()
        task.add_done_callback(self._tasks.pop)

    async def _execute(self, request: ProviderRequest) -> None:
        try:
            response = await execute(self._backend, request.request_id, request.command)
        except SealyardError as error:
            response = ProviderResponse(request_id=request.request_id, error=error.to_info())
        except Exception as error:
            response = ProviderResponse(request_id=request.request_id, error=to_provider_error(error).to_info())
        await asyncio.to_thread(self._send, response)

    def _send(self, response: ProviderResponse) -> None:
        # A worker that has ended needs no answer.
        with contextlib.suppress(OSError):
            self._writer.send(_encode(response))


def to_provider_error(error: Exception) -> KeyProviderError:
    """Return an error for an unexpected exception, whose message could quote a secret."""
    traceback.print_exception(error)
    if isinstance(error, PermissionError) and error.filename is not None:
        return KeyProviderError(
            f"The key provider has no access to {os.fsdecode(error.filename)}.",
            "Add the file or its folder to the paths of its section in the worker settings.",
        )
    return KeyProviderError(f"The key provider failed unexpectedly ({type(error).__name__}).", "See the worker log.")


def _encode(response: ProviderResponse) -> bytes:
    try:
        message = msgspec.json.encode(response)
    except UnicodeEncodeError:
        return _encode_error(response, InvalidInputError("A name in the response is not valid Unicode."))
    if len(message) > MAX_MESSAGE_BYTES:
        error = KeyProviderError("The answer of the key provider is too long.", "Name a key by its URI.")
        return _encode_error(response, error)
    return message


def _encode_error(response: ProviderResponse, error: SealyardError) -> bytes:
    return msgspec.json.encode(ProviderResponse(request_id=response.request_id, error=error.to_info()))
