"""A workspace shared by several processes of one machine.

The first process locks the workspace and listens on its socket; later processes attach to it through the socket. When
the lock holder ends, the first process that notices it takes the workspace over and listens instead. Calls that were in
progress are retried where that is safe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.client.config.key_holder import KeyHolder
from sealyard.client.engine_handle import EngineHandle
from sealyard.client.sharing.socket import SOCKET, is_listening, is_responsive, socket_path
from sealyard.concurrency.clock import SystemClock
from sealyard.engine.devices.key_monitor import CHECK_INTERVAL
from sealyard.fs.workspace_lock import WorkspaceLock, lock_error
from sealyard.model.errors import (
    DeliveryCertainty,
    SealyardError,
    ServerUnreachableError,
    StorageError,
    WorkspaceLockedError,
)
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.client.embedded import EmbeddedClient
    from sealyard.client.http.client import HttpClient
    from sealyard.client.http.requests import RecoverCallback
    from sealyard.client.sharing.local_server import LocalServer

POLL_INTERVAL = 0.1
"""Seconds between two checks of whether the lock holder listens or has ended."""

HOLDER_TIMEOUT = 5.0
"""Seconds to wait for a lock holder that does not listen, because it is starting, stopping or a short command."""

STARTING_TIMEOUT = 20.0
"""Seconds to wait for a lock holder that is starting and will listen as soon as it is ready."""

LISTENING_PURPOSES = frozenset({"application", "run", "serve", "watch"})
"""The purposes of lock holders that listen as soon as they are ready."""

KeyHolderProvider = Callable[[], KeyHolder]
"""Returns the key holder of the workspace, which the caller of :class:`SharedWorkspace` closes.

Called only if no other process holds the workspace. May start the key holder, which may prompt the user when the
workspace is first opened, but not when this process takes the workspace over.
"""

log = logging.getLogger(__name__)


class SharedWorkspace:
    """One process's access to a shared workspace.

    Create clients of any subject with :meth:`client`. Close this object, not the clients.
    """

    def __init__(
        self,
        folder: Path,
        key_holder: KeyHolderProvider,
        *,
        purpose: str,
        listen: bool = True,
        work: bool = True,
        os_group: str = "",
        allows_private_webhooks: Callable[[], bool] = lambda: False,
        key_check_interval: float = CHECK_INTERVAL,
        on_take_over: Callable[[], None] | None = None,
        on_trouble: Callable[[SealyardError], None] | None = None,
    ) -> None:
        """Prepare access to the workspace in ``folder``; :meth:`open` connects.

        ``key_holder`` returns the key holder, and ``purpose`` is shown to other processes while this
        process holds the lock. With ``listen``, which is for long-running processes, other processes can attach as
        soon as this process holds the lock; without it, only after :meth:`start_listening`. With ``work``, the engine
        gives tasks to workers while this process holds the lock. Members of the operating system group ``os_group``
        may also attach. ``allows_private_webhooks`` returns whether webhooks and notifications may be sent to all
        addresses and without encryption. It is called when this process starts to listen, possibly in a thread.
        ``key_check_interval``: seconds between two checks of a key while this process holds the lock.

        ``on_take_over`` is called after this process has taken the workspace over from another one. ``on_trouble`` is
        called with the reason if the take-over fails, or if other processes cannot attach; this process then continues
        as far as possible.
        """
        self._folder = folder
        self._get_key_holder = key_holder
        self._purpose = purpose
        self._listen = listen
        self._work = work
        self._os_group = os_group
        self._allows_private_webhooks = allows_private_webhooks
        self._key_check_interval = key_check_interval
        self._on_take_over = on_take_over
        self._on_trouble = on_trouble or _log_trouble
        self._engine: EngineHandle | None = None
        self._server: LocalServer | None = None
        self._clients: list[HttpClient] = []
        self._open_lock = asyncio.Lock()
        self._take_over_task: asyncio.Task[None] | None = None
        self._attached = False
        self._closed = False
        self._last_reported_error: str | None = None

    @property
    def engine(self) -> EngineHandle | None:
        """The engine if this process holds the workspace, else None."""
        return self._engine

    @property
    def is_attached(self) -> bool:
        """Whether this process has attached to another lock holder (which may have ended in the meantime)."""
        return self._attached

    async def open(self, *, within: float = HOLDER_TIMEOUT) -> None:
        """Attach to the lock holder or, if there is none, lock the workspace and open its engine.

        Raises :class:`WorkspaceLockedError` if a lock holder does not listen, or hangs, and does not end within
        ``within`` seconds, and :class:`WorkspaceReadOnlyError` if there is no lock holder and this process may not
        write to the workspace. Also raises any error that prevents opening the workspace.
        """
        async with self._open_lock:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + within
            starting_deadline = loop.time() + max(within, STARTING_TIMEOUT)
            while not await is_responsive(self._folder):
                try:
                    await self._acquire()
                    return
                except WorkspaceLockedError:
                    if loop.time() >= (starting_deadline if self._is_holder_starting() else deadline):
                        raise
                await asyncio.sleep(POLL_INTERVAL)
            self._attached = True

    def _is_holder_starting(self) -> bool:
        """Return whether the lock holder is starting: it does not listen yet, but its purpose implies that it will.

        A lock holder that listens but does not respond hangs, and is not starting.
        """
        if is_listening(self._folder):
            return False
        holder = WorkspaceLock.holder(WorkspacePaths(self._folder).lock)
        return holder is not None and holder.purpose in LISTENING_PURPOSES

    async def start_listening(self) -> None:
        """Let other processes attach, if this process holds the workspace.

        Raises :class:`UsageError` if the operating system group is invalid.
        """
        async with self._open_lock:
            if self._engine is not None and self._server is None:
                await self._try_start_server(self._engine)

    def client(self, subject: str) -> EmbeddedClient | HttpClient:
        """Return a client for ``subject``. Call :meth:`open` first."""
        if self._engine is not None and not self._attached:
            return self._engine.client(subject)
        client = connect_to_holder(self._folder, subject, self._recover)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """Close the clients and the engine and release the lock, so that another process can take over.

        The next lock holder continues the tasks that are running here.
        """
        self._closed = True
        for client in self._clients:
            await client.close()
        # A take-over may be in progress; its engine has to be closed too.
        if self._take_over_task is not None:
            await asyncio.gather(self._take_over_task, return_exceptions=True)
        async with self._open_lock:
            if self._engine is None:
                return
            if self._server is not None:
                await self._engine.drain(0)
                await self._server.stop()
            await self._engine.close()

    async def _recover(self) -> None:
        """Take the workspace over, or attach to the process that did. Called when no process listens any more.

        Several calls share one take-over, which continues if a call is cancelled. Raises the error if both fail.
        """
        if self._engine is not None:
            return
        if self._take_over_task is None or self._take_over_task.done():
            self._take_over_task = asyncio.create_task(self._take_over())
        await asyncio.shield(self._take_over_task)

    async def _take_over(self) -> None:
        try:
            await self.open()
        except WorkspaceLockedError:
            # The error is not reported: another process holds the lock by now. It will listen on the socket or exit.
            raise
        except SealyardError as error:
            self._report_once(error)
            raise
        self._last_reported_error = None

    async def _acquire(self) -> None:
        self._require_open()
        # Check the lock first, so that the user is not prompted for a passphrase in vain.
        lock_path = WorkspacePaths(self._folder).lock
        if (holder := WorkspaceLock.holder(lock_path)) is not None:
            raise lock_error(holder)
        WorkspaceLock.require_writable(lock_path)
        engine = await EngineHandle.open(
            self._folder,
            purpose=self._purpose,
            key_holder=self._get_key_holder(),
            work=self._work,
            key_check_interval=self._key_check_interval,
        )
        try:
            self._require_open()
            if self._attached:
                # The clients of this process use the socket; without a server they could not reach the engine.
                await self._start_server(engine)
            elif self._listen:
                await self._try_start_server(engine)
        except BaseException:
            await engine.close()
            raise
        self._engine = engine
        if self._attached and self._on_take_over is not None:
            self._on_take_over()

    def _require_open(self) -> None:
        if self._closed:
            raise ServerUnreachableError(
                "The connection to the workspace is closed.",
                "Open the workspace again.",
                reach=DeliveryCertainty.NOT_SENT,
            )

    async def _try_start_server(self, engine: EngineHandle) -> None:
        """Start the local server. If the socket cannot be created, report the error and continue without the socket.

        Webhooks are sent in both cases.
        """
        server = await self._create_server(engine)
        try:
            await server.start()
        except StorageError as error:
            self._report_once(error)
        except BaseException:
            await server.stop()
            raise
        self._server = server

    def _report_once(self, error: SealyardError) -> None:
        """Report ``error`` unless it has the same text as the last reported error."""
        if self._last_reported_error != str(error):
            self._last_reported_error = str(error)
            self._on_trouble(error)

    async def _start_server(self, engine: EngineHandle) -> None:
        """Start the local server after a take-over. Raises the error if it cannot start.

        Clients that this process created while it was attached keep using the socket, which this process now serves.
        """
        server = await self._create_server(engine)
        try:
            await server.start()
        except BaseException:
            await server.stop()
            raise
        self._server = server

    async def _create_server(self, engine: EngineHandle) -> LocalServer:
        from sealyard.client.sharing.local_server import load_local_server

        def load() -> LocalServer:
            return load_local_server(engine, self._os_group, allow_private_webhooks=self._allows_private_webhooks())

        return await asyncio.to_thread(load)


def _log_trouble(error: SealyardError) -> None:
    log.warning("%s", error)


def connect_to_holder(folder: Path, subject: str, recover: RecoverCallback | None = None) -> HttpClient:
    """Return a client that is connected to the lock holder through the socket.

    ``recover`` is called when no process listens on the socket any more.
    """
    from sealyard.client.http.client import HttpClient
    from sealyard.client.http.transport import Connection, Endpoint

    endpoint = Endpoint(socket=socket_path(folder), display_name=str(folder / SOCKET), subject=subject)
    return HttpClient(Connection(endpoint), SystemClock(), recover=recover)
