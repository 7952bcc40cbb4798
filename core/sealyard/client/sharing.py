"""A workspace that several processes of one machine share: one of them holds it, the others reach it by its socket.

Who comes first holds it and listens; who comes later attaches. When the holder goes, whoever notices first takes
the workspace over and listens in its place; calls that were under way are asked again where that is safe.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.client.embedded import EmbeddedClient
from sealyard.client.local_socket import answers, lasting_path
from sealyard.engine.clock import SystemClock
from sealyard.model.errors import WorkspaceHeldError

if TYPE_CHECKING:
    from sealyard.client.hosting import Hosting
    from sealyard.client.http.calls import Recover
    from sealyard.client.http.client import HttpClient

LOOK_AGAIN_SECONDS = 0.1
"""Between two looks whether the holder listens, or is gone."""

HOLDER_SECONDS = 5.0
"""For how long a holder that does not listen is waited for: it is starting, stopping, or a short command."""

Unlock = Callable[[], str | None]
"""Says what opens the key store, and may ask a person: only called by who is about to hold the workspace."""


class SharedWorkspace:
    """One process's share. Clients of any subject come from :meth:`client`; the share is closed, not they."""

    def __init__(
        self,
        folder: Path,
        unlock: Unlock,
        *,
        purpose: str,
        listen: bool = True,
        work: bool = True,
        group: str = "",
        on_take_over: Callable[[], None] | None = None,
    ) -> None:
        """``listen``: let others in, for who stays a while; without it, :meth:`let_in` does so later.

        ``work``: give tasks to workers, while holding it. ``group``: of this machine, whose members may come too.
        ``onTakeOver`` is told when a workspace that another held is held here.
        """
        self._folder = folder
        self._unlock = unlock
        self._purpose = purpose
        self._listen = listen
        self._work = work
        self._group = group
        self._on_take_over = on_take_over
        self._engine: EmbeddedClient | None = None
        self._hosting: Hosting | None = None
        self._clients: list[HttpClient] = []
        self._joining = asyncio.Lock()
        self._attached = False

    @property
    def engine(self) -> EmbeddedClient | None:
        """Where this process holds the workspace."""
        return self._engine

    async def join(self, *, patience: float = HOLDER_SECONDS) -> None:
        """Attaches to the holder, or holds it. Raises what keeps a workspace closed.

        :class:`WorkspaceHeldError`: a holder that lets nobody in does not go within ``patience`` seconds.
        """
        async with self._joining:
            loop = asyncio.get_running_loop()
            limit = loop.time() + patience
            while not await asyncio.to_thread(answers, self._folder):
                try:
                    await self._hold()
                    return
                except WorkspaceHeldError:
                    if loop.time() >= limit:
                        raise
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
            self._attached = True

    async def let_in(self) -> None:
        """Lets others attach, where this process holds the workspace. Raises :class:`UsageError` for the group."""
        async with self._joining:
            if self._engine is not None and self._hosting is None:
                await self._let_in(self._engine)

    def client(self, subject: str) -> EmbeddedClient | HttpClient:
        """Of who joined."""
        if self._engine is not None and not self._attached:
            return self._engine.as_subject(subject)
        client = attached(self._folder, subject, self._recover)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """Lets others take over. What runs here is handed back to the next holder."""
        for client in self._clients:
            await client.close()
        if self._engine is None:
            return
        if self._hosting is not None:
            await self._engine.host.rest(0)
            await self._hosting.stop()
        await self._engine.close()

    async def _recover(self) -> None:
        """Nobody listens any more: takes the workspace over, or finds who did.

        A holder that lets nobody in goes sooner or later; until then it is as if nobody were there.
        """
        if self._engine is None:
            with contextlib.suppress(WorkspaceHeldError):
                await self.join()

    async def _hold(self) -> None:
        passphrase = self._unlock()
        engine = await EmbeddedClient.open(
            self._folder, "", purpose=self._purpose, passphrase=passphrase, work=self._work
        )
        try:
            if self._listen or self._attached:
                await self._let_in(engine)
        except BaseException:
            await engine.close()
            raise
        self._engine = engine
        if self._attached and self._on_take_over is not None:
            self._on_take_over()

    async def _let_in(self, engine: EmbeddedClient) -> None:
        """Whoever attached once goes on by the socket, to itself now."""
        from sealyard.client.hosting import hosting

        made = await asyncio.to_thread(hosting, engine.host, self._group)
        await made.start()
        self._hosting = made


def attached(folder: Path, subject: str, recover: Recover | None = None) -> HttpClient:
    """A client of whoever holds the workspace. ``recover``: what to do once nobody does."""
    from sealyard.client.connection import Connection, Place
    from sealyard.client.http.client import HttpClient

    place = Place(socket=lasting_path(folder), subject=subject)
    return HttpClient(Connection(place), SystemClock(), recover=recover)
