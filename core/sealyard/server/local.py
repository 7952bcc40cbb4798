"""The workspace's own socket: whoever sits at this machine reaches the engine that holds the workspace."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
from pathlib import Path

from litestar import Litestar

from sealyard.client.host import Host
from sealyard.client.local_socket import SOCKET, short_path
from sealyard.client.thread import LoopThread
from sealyard.model.errors import StorageError, UsageError
from sealyard.model.safe_text import safe_text
from sealyard.server.serving import Listener, local_listener

READY_SECONDS = 10.0


class LocalServer:
    """Listens on a thread of its own, from :meth:`start` to :meth:`stop`."""

    def __init__(self, folder: Path, listener: Listener) -> None:
        self._folder = folder
        self._listener = listener
        self._thread = LoopThread("sealyard-socket")
        self._serving: asyncio.Task[None] | None = None

    async def start(self, group: str = "") -> None:
        """``group``: whose members may reach it too. Raises :class:`UsageError`, :class:`StorageError`."""
        sock = listen_at(self._folder, group)
        self._serving = asyncio.create_task(self._thread.call(self._listener.serve([sock])))
        await asyncio.sleep(0)

    async def stop(self) -> None:
        """No new calls; those under way may end."""
        with contextlib.suppress(OSError):
            (self._folder / SOCKET).unlink()
        self._listener.stop()
        if self._serving is not None:
            await asyncio.gather(self._serving, return_exceptions=True)
        await asyncio.to_thread(self._thread.stop)


def listen_at(folder: Path, group: str = "") -> socket.socket:
    """Only who holds the workspace's lock may call it: what another left there is removed."""
    gid = _group_id(group) if group else None
    path = folder / SOCKET
    try:
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with short_path(folder) as short:
            old = os.umask(0o177)
            try:
                sock.bind(str(short))
            finally:
                os.umask(old)
        if gid is not None:
            os.chown(path, -1, gid)
            path.chmod(0o660)
            os.chown(folder, -1, gid)
            folder.chmod(0o710)
        sock.listen(256)
    except OSError as error:
        raise StorageError(
            f"The socket in {safe_text(str(folder))} cannot be made: {error.strerror}.", "Check the folder's rights."
        ) from error
    return sock


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"There is no group {safe_text(name)} on this machine.", "Name another.") from None
