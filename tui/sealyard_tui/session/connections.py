"""Connections to a workspace: through its directory, which other processes may share, or through a server.

Engine and network code runs on separate threads. It is imported after the first paint of the application, which the
import would otherwise delay.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from sealyard.client.config.profiles import Profile
from sealyard.client.config.settings import DEFAULT_KEY_CHECK_MINUTES
from sealyard.client.http.status import ConnectionStatus
from sealyard.client.protocol import Client
from sealyard.concurrency.loop_thread import LoopThread, proxy_to_thread
from sealyard.model.errors import SealyardError, WorkspaceLockedError, WorkspaceReadOnlyError
from sealyard.model.workspace import WorkspacePaths
from sealyard_tui.session.messages import ConnectionMode

if TYPE_CHECKING:
    from sealyard.client.config.key_holder import KeyHolder
    from sealyard.client.engine_handle import EngineHandle
    from sealyard.client.http.client import HttpClient
    from sealyard.client.http.transport import TokenSource
    from sealyard.client.sharing.workspace import SharedWorkspace

StatusCallback = Callable[[ConnectionStatus], None]
ErrorCallback = Callable[[SealyardError], None]


class WorkspaceConnection(Protocol):
    """A connection to a workspace that several identities can use, one at a time."""

    on_error: ErrorCallback
    """Called if this process cannot take over the workspace, or if other processes cannot connect to it.

    The call may come from any thread. The connection remains usable.
    """

    @property
    def mode(self) -> ConnectionMode:
        """The current connection mode. It can change: an attached process can become the owner of the workspace."""
        ...

    @property
    def host(self) -> str:
        """Host and port of the server; empty for a local workspace."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether read-only access was requested."""
        ...

    @property
    def read_only_error(self) -> SealyardError | None:
        """The error if the workspace is read-only because it is locked or cannot be written; otherwise None."""
        ...

    async def open_preview(self, profile: Profile) -> Client | None:
        """Return a client that reads the workspace before it is verified, if :meth:`connect` would take long.

        Use it only until :meth:`connect` returns, and then call :meth:`close_preview`. Returns None if there is no
        preview, for example because the workspace is on a server or open already.
        """
        ...

    async def close_preview(self) -> None:
        """Close the preview, after its calls in progress have ended. Does nothing without one."""
        ...

    async def connect(self, profile: Profile, on_status: StatusCallback) -> Client:
        """Connect with ``profile``, and return a client for its identity. The first call opens the workspace.

        ``on_status``: receives the connection status until another profile is used; may be called from any thread.

        Raises any error that prevents opening the workspace or connecting to it.
        """
        ...

    async def start_listening(self) -> None:
        """Start accepting connections from other processes on this machine, if this process owns the workspace.

        Raises :class:`UsageError` if the operating system group that may connect is invalid.
        """
        ...

    async def close(self) -> None: ...


class LocalConnection:
    """A connection to a workspace directory, as its owner or through the process that owns it.

    It is read-only if requested, if the owner does not accept connections, or if the directory cannot be written.
    """

    host = ""

    def __init__(
        self,
        folder: Path,
        key_holder: Callable[[], KeyHolder] | None,
        *,
        read_only: bool = False,
        group: str = "",
        allow_private_webhooks: bool = False,
        key_check_interval: float = DEFAULT_KEY_CHECK_MINUTES * 60,
    ) -> None:
        """Prepare a connection to the workspace in ``folder``.

        ``key_holder``: returns the key holder of the workspace, which the caller closes, and may start it; None for a
        read-only connection.
        ``group``: the operating system group whose members may also connect. ``allow_private_webhooks``: whether to
        allow webhooks and notifications to all addresses and without encryption. ``key_check_interval``: seconds
        between two checks of a key while this process owns the workspace.
        """
        self.on_error: ErrorCallback = _no_op
        self.read_only = read_only
        self.read_only_error: SealyardError | None = None
        self.mode = ConnectionMode.READ_ONLY if read_only else ConnectionMode.OWNER
        self._folder = folder
        self._get_key_holder = key_holder
        self._group = group
        self._allow_private_webhooks = allow_private_webhooks
        self._key_check_interval = key_check_interval
        self._preview_engine: EngineHandle | None = None
        self._read_only_engine: EngineHandle | None = None
        self._workspace: SharedWorkspace | None = None
        self._engine: EngineHandle | None = None
        self._listen_future: asyncio.Future[None] | None = None
        self._clients = _HttpClients()

    async def open_preview(self, profile: Profile) -> Client | None:
        if self._get_key_holder is None or self.read_only or self._workspace is not None or self._is_locked():
            return None
        try:
            # The key holder opens the key store while the files are read.
            await asyncio.to_thread(self._get_key_holder)
            self._preview_engine = await self._open_reader()
        except SealyardError:
            return None  # connect() reports the error
        return self._preview_engine.client(profile.identity)

    async def close_preview(self) -> None:
        engine, self._preview_engine = self._preview_engine, None
        if engine is not None:
            await engine.close_when_unused()

    async def connect(self, profile: Profile, on_status: StatusCallback) -> Client:
        if self._read_only_engine is None and self._workspace is None:
            await self._open()
        if self._read_only_engine is not None:
            return self._read_only_engine.client(profile.identity)
        if self._engine is not None:
            return self._engine.client(profile.identity)
        return self._clients.client(profile, lambda: self._attached_client(profile.identity), on_status)

    async def start_listening(self) -> None:
        if self._engine is None or self._workspace is None:
            return
        if self._listen_future is None:
            self._listen_future = asyncio.ensure_future(self._clients.thread.call(self._workspace.start_listening()))
        await asyncio.shield(self._listen_future)

    async def close(self) -> None:
        if self._workspace is not None:
            await self._clients.thread.call(self._workspace.close())
        if self._preview_engine is not None:
            await self._preview_engine.close()
        if self._read_only_engine is not None:
            await self._read_only_engine.close()
        await self._clients.stop()

    async def _open(self) -> None:
        await asyncio.to_thread(importlib.import_module, "sealyard.client.sharing.workspace")
        if self.mode is not ConnectionMode.READ_ONLY:
            try:
                await self._open_workspace()
            except (WorkspaceLockedError, WorkspaceReadOnlyError) as error:
                self.read_only_error, self.mode = error, ConnectionMode.READ_ONLY
        if self.mode is ConnectionMode.READ_ONLY:
            self._read_only_engine = await self._open_reader()

    async def _open_reader(self) -> EngineHandle:
        await asyncio.to_thread(importlib.import_module, "sealyard.client.engine_handle")
        from sealyard.client.engine_handle import EngineHandle

        return await EngineHandle.open_read_only(self._folder)

    def _is_locked(self) -> bool:
        """Return whether another process has the workspace open; connecting to it takes little time."""
        from sealyard.fs.workspace_lock import WorkspaceLock

        return WorkspaceLock.holder(WorkspacePaths(self._folder).lock) is not None

    async def _open_workspace(self) -> None:
        from sealyard.client.sharing.workspace import SharedWorkspace

        assert self._get_key_holder is not None
        # Needed even if another process owns the workspace: when that process exits, this one may take over.
        key_holder = await asyncio.to_thread(self._get_key_holder)
        workspace = SharedWorkspace(
            self._folder,
            lambda: key_holder,
            purpose="application",
            listen=False,
            os_group=self._group,
            allows_private_webhooks=lambda: self._allow_private_webhooks,
            key_check_interval=self._key_check_interval,
            on_take_over=self._on_take_over,
            on_trouble=self._on_error,
        )
        await self._clients.thread.call(workspace.open())
        self._workspace, self._engine = workspace, workspace.engine
        self.mode = ConnectionMode.OWNER if workspace.engine is not None else ConnectionMode.ATTACHED

    def _attached_client(self, identity: str) -> HttpClient:
        assert self._workspace is not None
        return cast("HttpClient", self._workspace.client(identity))

    def _on_take_over(self) -> None:
        self.mode = ConnectionMode.OWNER

    def _on_error(self, error: SealyardError) -> None:
        self.on_error(error)


class ServerConnection:
    """A connection to a workspace on a server."""

    mode = ConnectionMode.SERVER
    read_only_error = None

    def __init__(self, url: str, token_of: Callable[[Profile], str | TokenSource], *, read_only: bool = False) -> None:
        """Prepare a connection to the server at ``url``.

        ``token_of``: returns the token of a profile. It may block, and raises :class:`AuthenticationError` if there is
        no token.
        """
        self.on_error: ErrorCallback = _no_op
        self.read_only = read_only
        self.host = urlsplit(url).netloc
        self._token_of = token_of
        self._clients = _HttpClients()

    async def open_preview(self, _: Profile) -> Client | None:
        return None

    async def close_preview(self) -> None:
        return None

    async def connect(self, profile: Profile, on_status: StatusCallback) -> Client:
        await asyncio.to_thread(importlib.import_module, "sealyard.client.http.client")
        from sealyard.client.http.connect import connect_to_server

        token = await asyncio.to_thread(self._token_of, profile)
        return self._clients.client(profile, lambda: connect_to_server(profile, token), on_status)

    async def start_listening(self) -> None:
        return None

    async def close(self) -> None:
        await self._clients.stop()


class _HttpClients:
    """HTTP clients that share one thread. Each profile has its own client, which keeps track of its uploads."""

    def __init__(self) -> None:
        self.thread = LoopThread("sealyard-http")
        self._clients: dict[Profile, HttpClient] = {}

    def client(self, profile: Profile, create: Callable[[], HttpClient], on_status: StatusCallback) -> Client:
        """Return the client for ``profile``, creating it with ``create`` if necessary.

        From then on, ``on_status`` receives the status of this client, and all other clients stop reporting theirs.
        """
        for existing in self._clients.values():
            existing.monitor.on_change = None
        client = self._clients.get(profile)
        if client is None:
            client = self._clients[profile] = create()
        client.monitor.on_change = on_status
        return proxy_to_thread(client, self.thread)

    async def stop(self) -> None:
        for client in self._clients.values():
            await self.thread.call(client.close())
        await asyncio.to_thread(self.thread.stop)


def _no_op(_: object) -> None:
    return None
