"""The provider process's main loop: open the backend, then serve the connections of workers."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import traceback

import msgspec

from sealyard.keys.backend import KeyBackend
from sealyard.keys.registry import load_backend
from sealyard.model.errors import SealyardError
from sealyard.model.provider_messages import (
    ConnectWorker,
    FromProvider,
    OpenProvider,
    ProviderFailed,
    ProviderReady,
    ToProvider,
)
from sealyard.provider.connection import WorkerConnection, to_provider_error

MAX_CONTROL_BYTES = 128 * 1024
"""Maximum size of a message of the key holder, which is a single packet."""

_decoder: msgspec.json.Decoder[ToProvider] = msgspec.json.Decoder(ToProvider)


def serve(control: socket.socket) -> int:
    """Run until the key holder closes its end of ``control``, which ends the process.

    Returns the exit code if the backend could not be opened: 2 if the first message is not :class:`OpenProvider`.
    """
    message, _ = _receive(control)
    if not isinstance(message, OpenProvider):
        return 2
    with asyncio.Runner() as runner:
        runner.run(_serve(control, message))
    return 0


async def _serve(control: socket.socket, request: OpenProvider) -> None:
    try:
        backend = await load_backend(request.settings.provider).open(request.settings, request.secrets)
    except Exception as error:
        reported_error = error if isinstance(error, SealyardError) else to_provider_error(error)
        _send(control, ProviderFailed(error=reported_error.to_info()))
        return
    _send(control, ProviderReady())
    loop = asyncio.get_running_loop()
    threading.Thread(target=_accept, args=(control, backend, loop), name="key-holder", daemon=True).start()
    await asyncio.Event().wait()


def _accept(control: socket.socket, backend: KeyBackend, loop: asyncio.AbstractEventLoop) -> None:
    """Add a connection for each file descriptor of the key holder."""
    try:
        while True:
            message, fds = _receive(control)
            if not isinstance(message, ConnectWorker) or len(fds) != 1:
                break
            loop.call_soon_threadsafe(WorkerConnection(fds[0], backend).start)
    except (OSError, ValueError):
        traceback.print_exc()
    finally:
        # Exit without joining threads: one that waits for a module or a device must not keep the process alive.
        os._exit(0)


def _receive(control: socket.socket) -> tuple[ToProvider | None, list[int]]:
    """Return the next message and its file descriptors, or None if the other end is closed.

    Raises ``ValueError`` if the message is not valid.
    """
    data, fds, _, _ = socket.recv_fds(control, MAX_CONTROL_BYTES, 1)
    return _decoder.decode(data) if data else None, fds


def _send(control: socket.socket, message: FromProvider) -> None:
    control.sendall(msgspec.json.encode(message))
