"""One person at one workspace: opens it in the background and turns what it tells into messages.

Nothing here waits on the application's loop for engine or network: they, the downloads and the watch folder run on
threads of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from textual.message import Message

from sealyard.client.config.profiles import Profile
from sealyard.client.http.status import ConnectionStatus
from sealyard.client.protocol import Client
from sealyard.model.errors import DeliveryCertainty, SealyardError, ServerUnreachableError
from sealyard.model.events import Event, EventsMissed, TaskChanged, TaskProgressed, WorkspaceChanged
from sealyard.model.requests import WorkspaceInfo
from sealyard_tui.session.connections import WorkspaceConnection
from sealyard_tui.session.messages import DISCONNECTED, ConnectionChanged, EngineState, EngineUpdate

BATCH_SECONDS = 0.1

RETRY_INTERVAL = 1.0
"""Between two tries to reach a server for the first time; each of them lasts for a while itself."""

PostMessage = Callable[[Message], bool]


class Session:
    """The client of the person one is now. Screens ask for it, and wait for it, off their handlers."""

    def __init__(self, connection: WorkspaceConnection, profile: Profile, profiles: tuple[Profile, ...]) -> None:
        self.profile = profile
        self.profiles = profiles
        self.connection = connection
        self._people: tuple[str, ...] = ()
        self._client: asyncio.Future[Client] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._state = EngineState.STARTING
        self._link = DISCONNECTED

    async def client(self) -> Client:
        """Once the engine is there. Raises what kept it from opening."""
        return await asyncio.shield(self._client_future())

    async def start(self, post: PostMessage) -> None:
        """Connects as the profile, tells of it, and goes on telling until :meth:`stop`."""
        promised = self._client_future()
        loop = asyncio.get_running_loop()

        def on_link(link: ConnectionStatus) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._on_status, promised, link, post)

        def on_trouble(error: SealyardError) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._post_state, post, error)

        self.connection.on_error = on_trouble
        try:
            client = await self.connection.connect(self.profile, on_link)
            info, cursor = await self._wait_for_server(client, post)
        except SealyardError as error:
            promised.set_exception(error)
            self._fail(error, post)
            return
        read_only = info.read_only or self.connection.read_only
        self._state = EngineState.READ_ONLY if read_only else EngineState.READY
        promised.set_result(client)
        self._post_state(post, self.connection.lock_error)
        self._pump = asyncio.create_task(self._listen(client, cursor, post))
        await self.connection.start_listening()

    async def switch_profile(self, profile: Profile) -> None:
        """The same workspace, as somebody else, from the next :meth:`start` on."""
        await self.stop()
        self.profile = profile
        if profile not in self.profiles:
            self.profiles = (*self.profiles, profile)
        self._client = None
        self._state = EngineState.STARTING
        self._link = DISCONNECTED

    async def stop(self) -> None:
        """Nothing is told any more; the engine goes on."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
            self._pump = None

    def _client_future(self) -> asyncio.Future[Client]:
        if self._client is None:
            self._client = asyncio.get_running_loop().create_future()
            # Whoever asks meets an error; nobody asking is no fault.
            self._client.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._client

    async def _wait_for_server(self, client: Client, post: PostMessage) -> tuple[WorkspaceInfo, int]:
        """However long it takes: a server may be started after the application. What keeps it is told once.

        With the cursor that events are heard from: taken before any place reads, nothing falls in between.
        """
        told = False
        while True:
            try:
                return await client.workspace(), await client.cursor()
            except ServerUnreachableError as error:
                if error.reach is DeliveryCertainty.UNTRUSTED:
                    raise
                if not told:
                    self._post_state(post, error)
                told = True
                await asyncio.sleep(RETRY_INTERVAL)

    async def _listen(self, client: Client, cursor: int, post: PostMessage) -> None:
        gathering = _EventBatcher(post)
        try:
            async for event in client.events(cursor):
                gathering.add(event)
        except SealyardError as error:
            # A line that is lost is found again by the client: this is a token that ended, or the like.
            self._fail(error, post)
        finally:
            gathering.stop()

    def _on_status(self, promised: asyncio.Future[Client], link: ConnectionStatus, post: PostMessage) -> None:
        """Of the person one is now. What was missed while the line was lost is read anew."""
        if promised is not self._client or self._state is EngineState.FAILED:
            return
        was, self._link = self._link, link
        self._post_state(post)
        if was.reconnecting_since is not None and link.is_connected and self._state is not EngineState.STARTING:
            post(EngineUpdate({}, {}, missed_events=True))

    def _fail(self, error: SealyardError, post: PostMessage) -> None:
        self._state = EngineState.FAILED
        self._post_state(post, error)

    def _post_state(self, post: PostMessage, error: SealyardError | None = None) -> None:
        lost = self._link.reconnecting_since is not None and self._state is not EngineState.FAILED
        state = EngineState.RECONNECTING if lost else self._state
        post(ConnectionChanged(state, self.connection.mode, error, self._link))

    def add_identities(self, identities: Iterable[str]) -> None:
        """People of the workspace: here one can be each of them, with a profile or without."""
        self._people = tuple(identities)

    @property
    def available_profiles(self) -> tuple[Profile, ...]:
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


class _EventBatcher:
    """Tells at once what comes after a pause, and what comes thick together ten times a second."""

    def __init__(self, post: PostMessage) -> None:
        self._post = post
        self._tasks: dict[str, TaskChanged] = {}
        self._progress: dict[str, TaskProgressed] = {}
        self._resources: set[str] = set()
        self._gap = False
        self._timer: asyncio.TimerHandle | None = None
        self._told = float("-inf")

    def add(self, event: Event) -> None:
        if isinstance(event, TaskChanged):
            self._tasks[event.task_id] = event
        elif isinstance(event, TaskProgressed):
            self._progress[event.task_id] = event
        elif isinstance(event, WorkspaceChanged):
            self._resources.add(event.resource)
        elif isinstance(event, EventsMissed):
            self._gap = True
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._told + BATCH_SECONDS), self._post_batch)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _post_batch(self) -> None:
        self._timer = None
        self._told = asyncio.get_running_loop().time()
        news = EngineUpdate(self._tasks, self._progress, frozenset(self._resources), self._gap)
        self._tasks.clear()
        self._progress.clear()
        self._resources.clear()
        self._gap = False
        self._post(news)
