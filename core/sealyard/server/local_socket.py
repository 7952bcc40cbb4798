"""The workspace's own socket: whoever sits at this machine reaches the engine that holds the workspace."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import socket
import stat
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from litestar import Litestar
from litestar.types import ASGIApp

from sealyard.client.engine_handle import EngineHandle
from sealyard.client.http.pinned import post_pinned
from sealyard.client.sharing.socket import SOCKET, socket_path
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.model.errors import SealyardError, StorageError, UsageError
from sealyard.model.safe_text import escape_text
from sealyard.server.app import build_app
from sealyard.server.auth.authentication import Authenticator
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.http.listeners import local_listener
from sealyard.server.webhooks.sender import WebhookSender

MAX_UPLOAD_BYTES = 1 << 50
"""Bytes: at one's own machine the disk is the limit."""

log = logging.getLogger(__name__)


class LocalSocketServer:
    """What goes on beside an engine that is held: its socket, and its webhooks. On a thread of its own."""

    def __init__(
        self,
        host: EngineHandle,
        *,
        group: str = "",
        allow_private_webhooks: bool = False,
        app_for_tenant: tuple[str, ASGIApp] | None = None,
    ) -> None:
        """``group``: whose members may use the socket too. ``allow_private_webhooks``: any address, and plain HTTP.

        ``app_for_tenant``: a server's application, and the tenant's name in it; else one for this workspace alone.
        """
        self._host = host
        self._group = group
        self._sender = WebhookSender(
            host, post_pinned, allow_private=allow_private_webhooks, allow_http=allow_private_webhooks
        )
        self._thread = LoopThread("sealyard-socket")
        tenant, app = app_for_tenant or (host.engine.metadata.name, _build_app(host))
        self._listener = local_listener(app, tenant)
        self._serving: asyncio.Task[None] | None = None
        self._sending: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens on return. Raises :class:`UsageError` for a group that it cannot be.

        Raises :class:`StorageError` where there can be no socket; webhooks are sent all the same.
        """
        self._sending = self._started(self._sender.run())
        sock = await asyncio.to_thread(bind_socket, self._host.folder, self._group)
        self._serving = self._started(self._listener.serve([sock]))

    async def stop(self) -> None:
        """No new calls; those under way may end soon. Events end with the engine's: let it rest before."""
        if self._serving is not None:
            with contextlib.suppress(OSError):
                (self._host.folder / SOCKET).unlink()
            self._listener.stop()
            await asyncio.gather(self._serving, return_exceptions=True)
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)
        await asyncio.to_thread(self._thread.stop)

    def _started(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        running = asyncio.create_task(self._thread.call(work))
        running.add_done_callback(_complain)
        return running

    def abort(self) -> None:
        """Once it stops: waits for no answer any more."""
        self._listener.abort()


def _complain(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and (error := running.exception()) is not None:
        log.critical("the workspace's socket or its webhooks are served no more", exc_info=error)


def _build_app(host: EngineHandle) -> Litestar:
    tenants = TenantRegistry({host.engine.metadata.name: host})
    return build_app(tenants, Authenticator(tenants, None, None, MAX_UPLOAD_BYTES))


def bind_socket(folder: Path, group: str = "") -> socket.socket:
    """Only for who holds the workspace's lock: a socket that an engine which is gone left there is removed.

    Raises :class:`UsageError` for a group that is unknown or not one's own, and :class:`StorageError`.
    """
    gid = _group_id(group) if group else None
    path = folder / SOCKET
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_left_over(path)
        sock.bind(socket_path(folder))
        path.chmod(0o600)
        if gid is not None:
            _grant_group_access(gid, group, path)
        # Only now can anybody connect.
        sock.listen(256)
    except OSError as error:
        sock.close()
        raise StorageError(
            f"The socket {escape_text(str(path))} cannot be made: {error.strerror}.",
            "The workspace is for this process alone; see that its file system has sockets, and room.",
        ) from error
    except SealyardError:
        sock.close()
        raise
    return sock


def _remove_left_over(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StorageError(
            f"{escape_text(str(path))} is in the way: it is no socket.",
            "The workspace is for this process alone; move that away, and start again.",
        )
    path.unlink()


def _grant_group_access(gid: int, group: str, path: Path) -> None:
    """The socket, and the way to it; the rest of the folder stays closed to the group."""
    try:
        os.chown(path, -1, gid)
        os.chown(path.parent, -1, gid)
    except PermissionError:
        path.unlink()
        raise UsageError(f"You are no member of the group {escape_text(group)}.", "Name one of yours.") from None
    path.chmod(0o660)
    path.parent.chmod(0o710)


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"There is no group {escape_text(name)} on this machine.", "Name another.") from None
