"""The Unix socket of a workspace, through which other processes on this machine use its engine."""

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
from sealyard.server.notifications.sender import NotificationSender
from sealyard.server.webhooks.sender import WebhookSender

MAX_UPLOAD_BYTES = 1 << 50
"""Maximum size of an upload; effectively unlimited, because on the same machine only disk space limits it."""

log = logging.getLogger(__name__)


class LocalSocketServer:
    """A server for the Unix socket of a workspace, on a separate thread, which also delivers its messages."""

    def __init__(
        self,
        engine_handle: EngineHandle,
        *,
        os_group: str = "",
        allow_private_webhooks: bool = False,
        app_for_tenant: tuple[str, ASGIApp] | None = None,
    ) -> None:
        """Create a server for the workspace of ``engine_handle``.

        ``os_group``: operating system group whose members may use the socket. ``allow_private_webhooks``: whether
        to allow webhooks and notifications to all addresses and without encryption. ``app_for_tenant``: name of the
        tenant, and the application of a server that includes this workspace; by default, a new application is created.
        """
        self._engine_handle = engine_handle
        self._os_group = os_group
        self._webhook_sender = WebhookSender(
            engine_handle, post_pinned, allow_private=allow_private_webhooks, allow_http=allow_private_webhooks
        )
        self._notification_sender = NotificationSender(engine_handle, allow_private=allow_private_webhooks)
        self._thread = LoopThread("sealyard-socket")
        tenant, app = app_for_tenant or (engine_handle.engine.metadata.name, _build_app(engine_handle))
        self._listener = local_listener(app, tenant)
        self._serve_task: asyncio.Task[None] | None = None
        self._socket_inode = 0
        self._send_tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start delivering webhooks and notifications, and listening on the socket.

        Raises :class:`UsageError` if the group cannot be used, and :class:`StorageError` if the socket cannot be
        created; in both cases, webhooks and notifications are still delivered.
        """
        # A client may send a test message as soon as this method returns.
        await self._notification_sender.attach()
        senders = (self._webhook_sender, self._notification_sender)
        self._send_tasks = [self._start_task(sender.run()) for sender in senders]
        sock = await asyncio.to_thread(bind_socket, self._engine_handle.folder, self._os_group)
        self._socket_inode = (self._engine_handle.folder / SOCKET).lstat().st_ino
        self._serve_task = self._start_task(self._listener.serve([sock]))

    async def stop(self) -> None:
        """Stop listening, wait a short time for open responses, and stop the thread.

        Drain the engine first: otherwise, open event streams delay stopping.
        """
        if self._serve_task is not None:
            with contextlib.suppress(OSError):
                _remove_socket(self._engine_handle.folder / SOCKET, self._socket_inode)
            self._listener.stop()
            await asyncio.gather(self._serve_task, return_exceptions=True)
        for send_task in self._send_tasks:
            send_task.cancel()
        await asyncio.gather(*self._send_tasks, return_exceptions=True)
        await asyncio.to_thread(self._thread.stop)

    def _start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._thread.call(coroutine))
        task.add_done_callback(_log_failure)
        return task

    def abort(self) -> None:
        """Make :meth:`stop` return without waiting for open responses, even if it is already waiting."""
        self._listener.abort()


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("the workspace's socket or message delivery failed", exc_info=error)


def _build_app(engine_handle: EngineHandle) -> Litestar:
    tenants = TenantRegistry({engine_handle.engine.metadata.name: engine_handle})
    return build_app(tenants, Authenticator(tenants, None, None, MAX_UPLOAD_BYTES))


def bind_socket(folder: Path, os_group: str = "") -> socket.socket:
    """Return a socket that listens for clients of the workspace in ``folder``. Replaces one left by a crashed engine.

    The caller must hold the lock of the workspace. ``os_group``: operating system group whose members may also use the
    socket; empty for none. Raises :class:`UsageError` if the group is unknown or the user is not a member of it, and
    :class:`StorageError` if the socket cannot be created.
    """
    gid = _find_group_id(os_group) if os_group else None
    path = folder / SOCKET
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale_socket(path)
        sock.bind(socket_path(folder))
        path.chmod(0o600)
        if gid is not None:
            _grant_group_access(gid, os_group, path)
        # Listen last: from here on, clients can connect, so the permissions must already be set.
        sock.listen(256)
    except OSError as error:
        sock.close()
        raise StorageError(
            f"Cannot create the socket {escape_text(str(path))}: {error.strerror}.",
            "Other processes cannot use the workspace. Check that its file system supports sockets and has free space.",
        ) from error
    except SealyardError:
        sock.close()
        raise
    return sock


def _remove_socket(path: Path, inode: int) -> None:
    """Remove the socket, unless a server that has taken over the workspace has replaced it."""
    if path.lstat().st_ino == inode:
        path.unlink()


def _remove_stale_socket(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StorageError(
            f"Cannot create the socket {escape_text(str(path))}: a file with this name exists.",
            "Other processes cannot use the workspace. Move the file, and start again.",
        )
    path.unlink()


def _grant_group_access(gid: int, os_group: str, path: Path) -> None:
    """Let the group use the socket and enter its folder; other files in the folder stay inaccessible to it."""
    try:
        os.chown(path, -1, gid)
        os.chown(path.parent, -1, gid)
    except PermissionError:
        path.unlink()
        raise UsageError(
            f"You are not a member of the group {escape_text(os_group)}.", "Use one of your groups."
        ) from None
    path.chmod(0o660)
    path.parent.chmod(0o710)


def _find_group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"Unknown group {escape_text(name)}.", "Use an existing operating system group.") from None
