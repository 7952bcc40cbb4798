"""A workspace that several processes of one machine share: one of them holds it, the others reach it by its socket.

Who comes first holds it and listens; who comes later attaches. When the holder goes, whoever notices first takes
the workspace over and listens in its place; calls that were under way are asked again where that is safe.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.client.embedded import EmbeddedClient
from sealyard.client.sharing.socket import SOCKET, is_listening, is_responsive, socket_path
from sealyard.concurrency.clock import SystemClock
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
    from sealyard.client.http.client import HttpClient
    from sealyard.client.http.requests import RecoverCallback
    from sealyard.client.sharing.local_server import LocalServer

POLL_INTERVAL = 0.1
"""Between two looks whether the holder listens, or is gone."""

HOLDER_SECONDS = 5.0
"""For how long a holder that does not listen is waited for: it is starting, stopping, or a short command."""

STARTING_SECONDS = 20.0
"""The same for one that lets others in as soon as it is ready."""

LISTENING_PURPOSES = frozenset({"application", "run", "serve", "watch"})
"""The purposes of those who do."""

PassphraseProvider = Callable[[], str | None]
"""Says what opens the key store: only called where nobody holds the workspace. May ask a person at the first joining,
but not of who takes the workspace over from somebody else."""

log = logging.getLogger(__name__)


class SharedWorkspace:
    """One process's share. Clients of any subject come from :meth:`client`; the share is closed, not they."""

    def __init__(
        self,
        folder: Path,
        unlock: PassphraseProvider,
        *,
        purpose: str,
        listen: bool = True,
        work: bool = True,
        group: str = "",
        on_take_over: Callable[[], None] | None = None,
        on_trouble: Callable[[SealyardError], None] | None = None,
    ) -> None:
        """``listen``: let others in, for who stays a while; without it, :meth:`let_in` does so later.

        ``work``: give tasks to workers, while holding it. ``group``: of this machine, whose members may come too.
        ``on_take_over`` is told when a workspace that another held is held here, ``on_trouble`` why it cannot be, and
        why others cannot be let in; this process goes on then as it can.
        """
        self._folder = folder
        self._unlock = unlock
        self._purpose = purpose
        self._listen = listen
        self._work = work
        self._group = group
        self._on_take_over = on_take_over or _unheard
        self._on_trouble = on_trouble or _log_trouble
        self._engine: EmbeddedClient | None = None
        self._hosting: LocalServer | None = None
        self._clients: list[HttpClient] = []
        self._joining = asyncio.Lock()
        self._recovering: asyncio.Task[None] | None = None
        self._attached = False
        self._closed = False
        self._told: str | None = None

    @property
    def engine(self) -> EmbeddedClient | None:
        """Where this process holds the workspace."""
        return self._engine

    @property
    def connect_to_holder(self) -> bool:
        """Whether it came to a workspace that another process held; that one may be gone by now."""
        return self._attached

    async def open(self, *, patience: float = HOLDER_SECONDS) -> None:
        """Attaches to the holder, or holds it. Raises what keeps a workspace closed.

        :class:`WorkspaceLockedError`: a holder that lets nobody in, or hangs, does not go within ``patience`` seconds.
        """
        async with self._joining:
            loop = asyncio.get_running_loop()
            limit = loop.time() + patience
            starting = loop.time() + max(patience, STARTING_SECONDS)
            while not await is_responsive(self._folder):
                try:
                    await self._acquire()
                    return
                except WorkspaceLockedError:
                    if loop.time() >= (starting if self._holder_is_starting() else limit):
                        raise
                await asyncio.sleep(POLL_INTERVAL)
            self._attached = True

    def _holder_is_starting(self) -> bool:
        """It does not listen yet; one that listens and does not answer hangs."""
        if is_listening(self._folder):
            return False
        holder = WorkspaceLock.holder(WorkspacePaths(self._folder).lock)
        return holder is not None and holder.purpose in LISTENING_PURPOSES

    async def start_listening(self) -> None:
        """Lets others attach, where this process holds the workspace. Raises :class:`UsageError` for the group."""
        async with self._joining:
            if self._engine is not None and self._hosting is None:
                await self._let_in_if_possible(self._engine)

    def client(self, subject: str) -> EmbeddedClient | HttpClient:
        """Of who joined."""
        if self._engine is not None and not self._attached:
            return self._engine.for_subject(subject)
        client = connect_to_holder(self._folder, subject, self._recover)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """Lets others take over. What runs here is handed back to the next holder."""
        self._closed = True
        for client in self._clients:
            await client.close()
        # The workspace may be taken over at this moment.
        if self._recovering is not None:
            await asyncio.gather(self._recovering, return_exceptions=True)
        async with self._joining:
            if self._engine is None:
                return
            if self._hosting is not None:
                await self._engine.host.drain(0)
                await self._hosting.stop()
            await self._engine.close()

    async def _recover(self) -> None:
        """Nobody listens any more: takes the workspace over, or finds who did. Raises what keeps it from both.

        Whichever call has noticed it: that this one is cancelled does not end the taking over.
        """
        if self._engine is not None:
            return
        if self._recovering is None or self._recovering.done():
            self._recovering = asyncio.create_task(self._take_over())
        await asyncio.shield(self._recovering)

    async def _take_over(self) -> None:
        try:
            await self.open()
        except WorkspaceLockedError:
            # Somebody else has it already, and will listen, or go.
            raise
        except SealyardError as error:
            self._report_once(error)
            raise
        self._told = None

    async def _acquire(self) -> None:
        self._require_open()
        # Before anything is asked of a person in vain.
        if (holder := WorkspaceLock.holder(WorkspacePaths(self._folder).lock)) is not None:
            raise lock_error(holder)
        passphrase = self._unlock()
        engine = await EmbeddedClient.open(
            self._folder, "", purpose=self._purpose, passphrase=passphrase, work=self._work
        )
        try:
            self._require_open()
            if self._attached:
                # Its own clients are attached: without a socket they would reach nobody.
                await self._let_in(engine)
            elif self._listen:
                await self._let_in_if_possible(engine)
        except BaseException:
            await engine.close()
            raise
        self._engine = engine
        if self._attached:
            self._on_take_over()

    def _require_open(self) -> None:
        if self._closed:
            raise ServerUnreachableError(
                "This share of the workspace is closed.", "Open it again.", reach=DeliveryCertainty.NOT_SENT
            )

    async def _let_in_if_possible(self, engine: EmbeddedClient) -> None:
        """Where no socket can be, the workspace is held for this process alone; its webhooks are sent."""
        made = await self._create_server(engine)
        try:
            await made.start()
        except StorageError as error:
            self._report_once(error)
        except BaseException:
            await made.stop()
            raise
        self._hosting = made

    def _report_once(self, error: SealyardError) -> None:
        """Once, however often it is met."""
        if self._told != str(error):
            self._told = str(error)
            self._on_trouble(error)

    async def _let_in(self, engine: EmbeddedClient) -> None:
        """Whoever attached once goes on by the socket, to itself now."""
        made = await self._create_server(engine)
        try:
            await made.start()
        except BaseException:
            await made.stop()
            raise
        self._hosting = made

    async def _create_server(self, engine: EmbeddedClient) -> LocalServer:
        from sealyard.client.sharing.local_server import load_local_server

        return await asyncio.to_thread(load_local_server, engine.host, self._group)


def _unheard() -> None:
    return None


def _log_trouble(error: SealyardError) -> None:
    log.warning("%s", error)


def connect_to_holder(folder: Path, subject: str, recover: RecoverCallback | None = None) -> HttpClient:
    """A client of whoever holds the workspace. ``recover``: what to do once nobody does."""
    from sealyard.client.http.client import HttpClient
    from sealyard.client.http.transport import Connection, Endpoint

    place = Endpoint(socket=socket_path(folder), display_name=str(folder / SOCKET), subject=subject)
    return HttpClient(Connection(place), SystemClock(), recover=recover)
