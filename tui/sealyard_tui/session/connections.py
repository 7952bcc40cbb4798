"""The two ways to a workspace: its folder, shared with whoever else is at this machine, and a server that has it.

Engine and network run on threads of their own, and are loaded beside the application: loading either takes longer
than a first paint.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

from sealyard.client.config.profiles import Profile
from sealyard.client.http.status import ConnectionStatus
from sealyard.client.protocol import Client
from sealyard.concurrency.loop_thread import LoopThread, proxy_to_thread
from sealyard.model.errors import SealyardError, WorkspaceLockedError
from sealyard_tui.session.messages import ConnectionMode

if TYPE_CHECKING:
    from sealyard.client.engine_handle import EngineHandle
    from sealyard.client.http.client import HttpClient
    from sealyard.client.sharing.workspace import SharedWorkspace

StatusCallback = Callable[[ConnectionStatus], None]
ErrorCallback = Callable[[SealyardError], None]


class WorkspaceConnection(Protocol):
    """A workspace on which one can be several people, one at a time."""

    on_error: ErrorCallback
    """Told on any thread why the workspace cannot be taken over, or others not be let in; it goes on as it can."""

    @property
    def mode(self) -> ConnectionMode:
        """As it is now: who attached may come to hold the workspace."""
        ...

    @property
    def host(self) -> str:
        """Of the server; empty where there is none."""
        ...

    @property
    def read_only(self) -> bool:
        """Whether that was asked for."""
        ...

    @property
    def lock_error(self) -> WorkspaceLockedError | None:
        """Why the workspace can only be read, where another process holds it."""
        ...

    async def connect(self, profile: Profile, on_link: StatusCallback) -> Client:
        """The first call opens the workspace, and raises what keeps it closed.

        ``on_link`` is told on any thread, of the latest profile's line only.
        """
        ...

    async def start_listening(self) -> None:
        """Once there is time for it: others of this machine may attach. Raises :class:`UsageError` for their group."""
        ...

    async def close(self) -> None: ...


class LocalConnection:
    """A folder: held by this process, or attached to the one that holds it.

    Read only where that was asked, and where who holds it lets nobody in.
    """

    host = ""

    def __init__(self, folder: Path, passphrase: str | None, *, read_only: bool = False, group: str = "") -> None:
        """``group``: of this machine, whose members may attach too."""
        self.on_error: ErrorCallback = _untold
        self.read_only = read_only
        self.lock_error: WorkspaceLockedError | None = None
        self.mode = ConnectionMode.READ_ONLY if read_only else ConnectionMode.OWNER
        self._folder = folder
        self._passphrase = passphrase
        self._group = group
        self._reader: EngineHandle | None = None
        self._shared: SharedWorkspace | None = None
        self._engine: EngineHandle | None = None
        self._letting_in: asyncio.Future[None] | None = None
        self._lines = _HttpClients()

    async def connect(self, profile: Profile, on_link: StatusCallback) -> Client:
        if self._reader is None and self._shared is None:
            await self._open()
        if self._reader is not None:
            return self._reader.client(profile.identity)
        if self._engine is not None:
            return self._engine.client(profile.identity)
        return self._lines.client(profile, lambda: self._attached(profile.identity), on_link)

    async def start_listening(self) -> None:
        if self._engine is None or self._shared is None:
            return
        if self._letting_in is None:
            self._letting_in = asyncio.ensure_future(self._lines.thread.call(self._shared.start_listening()))
        await asyncio.shield(self._letting_in)

    async def close(self) -> None:
        if self._shared is not None:
            await self._lines.thread.call(self._shared.close())
        if self._reader is not None:
            await self._reader.close()
        await self._lines.stop()

    async def _open(self) -> None:
        await asyncio.to_thread(importlib.import_module, "sealyard.client.sharing.workspace")
        if self.mode is not ConnectionMode.READ_ONLY:
            try:
                await self._join()
            except WorkspaceLockedError as error:
                self.lock_error, self.mode = error, ConnectionMode.READ_ONLY
        if self.mode is ConnectionMode.READ_ONLY:
            from sealyard.client.engine_handle import EngineHandle

            self._reader = await EngineHandle.open_read_only(self._folder)

    async def _join(self) -> None:
        from sealyard.client.sharing.workspace import SharedWorkspace

        shared = SharedWorkspace(
            self._folder,
            lambda: self._passphrase,
            purpose="application",
            listen=False,
            os_group=self._group,
            on_take_over=self._on_take_over,
            on_trouble=self._had_trouble,
        )
        await self._lines.thread.call(shared.open())
        self._shared, self._engine = shared, shared.engine
        self.mode = ConnectionMode.OWNER if shared.engine is not None else ConnectionMode.ATTACHED

    def _attached(self, identity: str) -> HttpClient:
        assert self._shared is not None
        return cast("HttpClient", self._shared.client(identity))

    def _on_take_over(self) -> None:
        self.mode = ConnectionMode.OWNER

    def _had_trouble(self, error: SealyardError) -> None:
        self.on_error(error)


class ServerConnection:
    """A server, by the network."""

    mode = ConnectionMode.SERVER
    lock_error = None

    def __init__(self, url: str, token_of: Callable[[Profile], str], *, read_only: bool = False) -> None:
        """``token_of`` may take its time, and raises :class:`AuthenticationError` where there is no token."""
        self.on_error: ErrorCallback = _untold
        self.read_only = read_only
        self.host = urlsplit(url).netloc
        self._token_of = token_of
        self._lines = _HttpClients()

    async def connect(self, profile: Profile, on_link: StatusCallback) -> Client:
        await asyncio.to_thread(importlib.import_module, "sealyard.client.http.client")
        from sealyard.client.http.connect import connect_to_server

        token = await asyncio.to_thread(self._token_of, profile)
        return self._lines.client(profile, lambda: connect_to_server(profile, token), on_link)

    async def start_listening(self) -> None:
        return None

    async def close(self) -> None:
        await self._lines.stop()


class _HttpClients:
    """Clients by HTTP on one thread: each profile's stays, for it alone knows what was handed in through it."""

    def __init__(self) -> None:
        self.thread = LoopThread("sealyard-line")
        self._clients: dict[Profile, HttpClient] = {}

    def client(self, profile: Profile, made: Callable[[], HttpClient], on_link: StatusCallback) -> Client:
        """``made`` where there is none yet. Whoever was told of another one's line hears no more."""
        for each in self._clients.values():
            each.monitor.on_change = None
        client = self._clients.get(profile)
        if client is None:
            client = self._clients[profile] = made()
        client.monitor.on_change = on_link
        return proxy_to_thread(client, self.thread)

    async def stop(self) -> None:
        for each in self._clients.values():
            await self.thread.call(each.close())
        await asyncio.to_thread(self.thread.stop)


def _untold(_: SealyardError) -> None:
    return None
