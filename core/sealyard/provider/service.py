"""The provider process's main loop: open the backend, then serve the connections of workers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from sealyard.confinement import Confinement
from sealyard.confinement.paths import provider_paths
from sealyard.confinement.seccomp import SocketAccess
from sealyard.keys.backend import KeyBackend
from sealyard.keys.registry import load_backend
from sealyard.model.errors import SealyardError
from sealyard.model.provider_messages import (
    MAX_CONTROL_BYTES,
    ConnectWorker,
    FromProvider,
    OpenProvider,
    PingProvider,
    ProviderAlive,
    ProviderFailed,
    ProviderReady,
    ToProvider,
)
from sealyard.provider.connection import WorkerConnection, to_provider_error

_decoder: msgspec.json.Decoder[ToProvider] = msgspec.json.Decoder(ToProvider)


def serve(control: socket.socket, confinement: Confinement) -> int:
    """Run until the key holder closes its end of ``control``, which ends the process.

    Restricts the process before the backend is loaded. Returns the exit code if the backend could not be opened: 2 if
    the first message is not :class:`OpenProvider`.
    """
    message, _ = _receive(control)
    if not isinstance(message, OpenProvider):
        return 2
    with asyncio.Runner() as runner:
        runner.get_loop()  # creates a pair of sockets, which the confinement forbids
        _restrict(confinement, message)
        runner.run(_serve(control, message))
    return 0


def _restrict(confinement: Confinement, request: OpenProvider) -> None:
    """Remove access to everything that the worker settings do not permit, and report refused measures."""
    process = request.process
    paths = provider_paths(map(Path, request.readable_paths), tuple(map(Path, process.paths)))
    sockets = SocketAccess.UNIX if process.unix_sockets else SocketAccess.NONE
    confinement.restrict(paths, SocketAccess.ANY if process.network else sockets)
    for measure in confinement.refused:
        sys.stderr.write(
            f"The kernel refused {measure.name} for the key provider {request.settings.name}: {measure.reason}\n"
        )


async def _serve(control: socket.socket, request: OpenProvider) -> None:
    try:
        backend = await load_backend(request.settings.provider).open(request.settings, request.secrets)
    except Exception as error:
        reported_error = error if isinstance(error, SealyardError) else to_provider_error(error)
        _send(control, ProviderFailed(error=reported_error.to_info()))
        return
    _send(control, ProviderReady())
    service = _Service(control, backend, asyncio.get_running_loop())
    threading.Thread(target=service.receive, name="key-holder", daemon=True).start()
    await asyncio.Event().wait()


class _Service:
    """Handles the messages of the key holder."""

    def __init__(self, control: socket.socket, backend: KeyBackend, loop: asyncio.AbstractEventLoop) -> None:
        self._control = control
        self._backend = backend
        self._loop = loop
        self._connections: list[WorkerConnection] = []

    def receive(self) -> None:
        """Receive messages until the key holder closes its end or sends an invalid one; then exit."""
        try:
            while self._handle(*_receive(self._control)):
                pass
        except (OSError, ValueError):
            traceback.print_exc()
        finally:
            # Exit without joining threads: one that waits for a module or a device must not keep the process alive.
            os._exit(0)

    def _handle(self, message: ToProvider | None, fds: list[int]) -> bool:
        match message:
            case ConnectWorker() if len(fds) == 1:
                self._loop.call_soon_threadsafe(self._connect, fds[0])
            case PingProvider():
                # Answered by the event loop, so that a backend that blocks it is noticed.
                self._loop.call_soon_threadsafe(self._report_alive)
            case _:
                return False
        return True

    def _connect(self, fd: int) -> None:
        self._connections = [connection for connection in self._connections if not connection.is_closed]
        connection = WorkerConnection(fd, self._backend)
        self._connections.append(connection)
        connection.start()

    def _report_alive(self) -> None:
        seconds = max((connection.oldest_request_seconds for connection in self._connections), default=0.0)
        with contextlib.suppress(OSError):  # the reader notices that the key holder has ended
            _send(self._control, ProviderAlive(oldest_request_seconds=seconds))


def _receive(control: socket.socket) -> tuple[ToProvider | None, list[int]]:
    """Return the next message and its file descriptors, or None if the other end is closed.

    Raises ``ValueError`` if the message is not valid.
    """
    data, fds, _, _ = socket.recv_fds(control, MAX_CONTROL_BYTES, 1)
    return _decoder.decode(data) if data else None, fds


def _send(control: socket.socket, message: FromProvider) -> None:
    control.sendall(msgspec.json.encode(message))
