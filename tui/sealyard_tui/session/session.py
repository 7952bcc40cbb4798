"""One person at one workspace: opens the engine in the background and turns what it tells into messages.

Nothing here waits on the application's loop for the engine: the engine, the downloads and the watch folder run on
threads of their own.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from textual.message import Message

from sealyard.client.profiles import Profile
from sealyard.client.protocol import Client
from sealyard.model.errors import SealyardError, WorkspaceHeldError
from sealyard.model.events import Event, Gap, TaskChanged, TaskProgress, WorkspaceChanged
from sealyard_tui.session.messages import EngineMoved, EngineState, News

if TYPE_CHECKING:
    from sealyard.client.embedded import EmbeddedClient

GATHER_SECONDS = 0.1

Post = Callable[[Message], bool]


class Connection(Protocol):
    """A workspace on which one can be several people, one at a time."""

    async def connect(self, identity: str) -> Client:
        """The first call opens the workspace. Raises what :meth:`EmbeddedClient.open` raises."""
        ...

    @property
    def held(self) -> WorkspaceHeldError | None:
        """Why the workspace can only be read, where another process holds it."""
        ...

    async def close(self) -> None: ...


class EmbeddedConnection:
    """The engine of a folder, in this process; read only where another process holds it, or where that was asked."""

    def __init__(self, folder: Path, passphrase: str | None, *, read_only: bool) -> None:
        self._folder = folder
        self._passphrase = passphrase
        self._read_only = read_only
        self._client: EmbeddedClient | None = None
        self.held: WorkspaceHeldError | None = None

    async def connect(self, identity: str) -> Client:
        if self._client is None:
            self._client = await self._opened(identity)
        return self._client.as_subject(identity)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _opened(self, identity: str) -> EmbeddedClient:
        # Loading the engine takes longer than a first paint: it is loaded beside it.
        await asyncio.to_thread(importlib.import_module, "sealyard.client.embedded")
        from sealyard.client.embedded import EmbeddedClient

        if self._read_only:
            return await EmbeddedClient.open_reader(self._folder, identity)
        try:
            return await EmbeddedClient.open(self._folder, identity, purpose="application", passphrase=self._passphrase)
        except WorkspaceHeldError as error:
            self.held = error
            return await EmbeddedClient.open_reader(self._folder, identity)


class Session:
    """The client of the person one is now. Screens ask for it, and wait for it, off their handlers."""

    def __init__(self, connection: Connection, profile: Profile, profiles: tuple[Profile, ...]) -> None:
        self.profile = profile
        self.profiles = profiles
        self._people: tuple[str, ...] = ()
        self._connection = connection
        self._client: asyncio.Future[Client] | None = None
        self._pump: asyncio.Task[None] | None = None

    async def client(self) -> Client:
        """Once the engine is there. Raises what kept it from opening."""
        return await asyncio.shield(self._promised())

    async def start(self, post: Post) -> None:
        """Connects as the profile, tells of it, and goes on telling until :meth:`stop`."""
        promised = self._promised()
        try:
            client = await self._connection.connect(self.profile.identity)
            info = await client.workspace()
        except SealyardError as error:
            promised.set_exception(error)
            post(EngineMoved(EngineState.FAILED, error))
            return
        promised.set_result(client)
        state = EngineState.READ_ONLY if info.read_only else EngineState.READY
        post(EngineMoved(state, self._connection.held))
        self._pump = asyncio.create_task(_listen(client, post))

    async def switch(self, profile: Profile, post: Post) -> None:
        """The same workspace, as somebody else."""
        await self.stop()
        self.profile = profile
        if profile not in self.profiles:
            self.profiles = (*self.profiles, profile)
        self._client = None
        await self.start(post)

    async def stop(self) -> None:
        """Nothing is told any more; the engine goes on."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
            self._pump = None

    def _promised(self) -> asyncio.Future[Client]:
        if self._client is None:
            self._client = asyncio.get_running_loop().create_future()
            # Whoever asks meets an error; nobody asking is no fault.
            self._client.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._client

    def meet(self, identities: Iterable[str]) -> None:
        """People of the workspace: here one can be each of them, with a profile or without."""
        self._people = tuple(identities)

    @property
    def everybody(self) -> tuple[Profile, ...]:
        """The profiles, then the people one has met that have none; being somebody makes a profile for this session."""
        having, taken = {each.identity for each in self.profiles}, {each.name for each in self.profiles}
        names = ((each, each.partition(":")[2]) for each in self._people if each not in having)
        return (
            *self.profiles,
            *(
                Profile(name=each if name in taken else name, identity=each, workspace=self.profile.workspace)
                for each, name in names
            ),
        )

    def next_profile(self) -> Profile:
        """The one after this among those of the workspace, round and round."""
        names = [each.name for each in self.profiles]
        here = names.index(self.profile.name) if self.profile.name in names else -1
        return self.profiles[(here + 1) % len(names)] if names else self.profile


async def _listen(client: Client, post: Post) -> None:
    gathering = _Gathering(post)
    try:
        async for event in client.events():
            gathering.add(event)
    finally:
        gathering.stop()


class _Gathering:
    """Tells at once what comes after a pause, and what comes thick together ten times a second."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._tasks: dict[str, TaskChanged] = {}
        self._progress: dict[str, TaskProgress] = {}
        self._resources: set[str] = set()
        self._gap = False
        self._timer: asyncio.TimerHandle | None = None
        self._told = float("-inf")

    def add(self, event: Event) -> None:
        if isinstance(event, TaskChanged):
            self._tasks[event.task_id] = event
        elif isinstance(event, TaskProgress):
            self._progress[event.task_id] = event
        elif isinstance(event, WorkspaceChanged):
            self._resources.add(event.resource)
        elif isinstance(event, Gap):
            self._gap = True
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._told + GATHER_SECONDS), self._tell)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        self._timer = None
        self._told = asyncio.get_running_loop().time()
        news = News(self._tasks, self._progress, frozenset(self._resources), self._gap)
        self._tasks.clear()
        self._progress.clear()
        self._resources.clear()
        self._gap = False
        self._post(news)
