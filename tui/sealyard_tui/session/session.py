"""The session of one identity: it connects in the background and converts engine events into Textual messages.

The session never blocks the event loop of the application: the engine, network code, downloads and the watch folder run
on their own threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from textual.message import Message

from sealyard.client.config.profiles import Profile
from sealyard.client.http.status import ConnectionStatus
from sealyard.client.protocol import Client
from sealyard.model.errors import SealyardError, ServerUnreachableError
from sealyard.model.events import Event, EventsMissed, TaskChanged, TaskProgressed, WorkspaceChanged
from sealyard.model.requests import WorkspaceInfo
from sealyard.model.subject_names import SubjectNames, is_inactive
from sealyard_tui.session.connections import WorkspaceConnection
from sealyard_tui.session.messages import DISCONNECTED, ConnectionChanged, EngineState, EngineUpdate
from sealyard_tui.session.replaceable_client import ReplaceableClient

BATCH_SECONDS = 0.1
"""Minimum time between two batches of engine events, in seconds."""

RETRY_INTERVAL = 1.0
"""Seconds between attempts to connect to the server until it responds for the first time."""

PostMessage = Callable[[Message], bool]


class Session:
    """The session of the current identity, and its client.

    Screens must await :meth:`client` in workers, not in message handlers, which it would block.
    """

    def __init__(self, connection: WorkspaceConnection, profile: Profile, profiles: tuple[Profile, ...]) -> None:
        self.profile = profile
        self.profiles = profiles
        self.connection = connection
        self._identities: tuple[str, ...] = ()
        self._client: asyncio.Future[Client] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._state = EngineState.STARTING
        self._status = DISCONNECTED

    async def client(self) -> Client:
        """Wait until the session is connected, and return the client. Raises the error if connecting failed."""
        return await asyncio.shield(self._client_future())

    def is_current(self, client: Client) -> bool:
        """Return whether this is the client of the current identity, not of an earlier one."""
        future = self._client
        if future is None or not future.done() or future.cancelled() or future.exception() is not None:
            return False
        return future.result() is client

    async def start(self, post: PostMessage) -> None:
        """Connect with the current profile, and post engine updates until :meth:`stop` is called.

        Connection errors are posted, not raised. Raises the errors of :meth:`WorkspaceConnection.start_listening`.
        """
        future = self._client_future()
        loop = asyncio.get_running_loop()

        def on_status(status: ConnectionStatus) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._on_status, future, status, post)

        def on_error(error: SealyardError) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._post_state, post, error)

        self.connection.on_error = on_error
        preview = await self._show_preview(future, post)
        try:
            client = await self.connection.connect(self.profile, on_status)
            info, cursor = await self._wait_for_server(client, post)
        except SealyardError as error:
            if preview is None:
                future.set_exception(error)
            self._fail(error, post)
            return
        read_only = info.read_only or self.connection.read_only
        self._state = EngineState.READ_ONLY if read_only else EngineState.READY
        if preview is None:
            future.set_result(client)
        else:
            preview.replace(client)
            await self.connection.close_preview()
        self._post_state(post, self.connection.read_only_error)
        if preview is not None:
            post(EngineUpdate({}, {}, missed_events=True))
        self._listener = asyncio.create_task(self._listen(client, cursor, post))
        await self.connection.start_listening()

    async def _show_preview(self, future: asyncio.Future[Client], post: PostMessage) -> ReplaceableClient | None:
        """Let screens show unverified data until the session is connected, if that takes long.

        Returns the client that they have, or None without a preview. If connecting fails, they keep it.
        """
        client = await self.connection.open_preview(self.profile)
        if client is None:
            return None
        preview = ReplaceableClient(client)
        self._state = EngineState.UNVERIFIED
        future.set_result(preview.as_client())
        self._post_state(post)
        return preview

    async def switch_profile(self, profile: Profile) -> None:
        """Stop the session, and use another profile of the same workspace from the next :meth:`start` on."""
        await self.stop()
        self.profile = profile
        if profile not in self.profiles:
            self.profiles = (*self.profiles, profile)
        self._client = None
        self._state = EngineState.STARTING
        self._status = DISCONNECTED

    async def stop(self) -> None:
        """Stop receiving engine events; the connection remains open."""
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
            self._listener = None

    def _client_future(self) -> asyncio.Future[Client]:
        if self._client is None:
            self._client = asyncio.get_running_loop().create_future()
            # Callers of client() get the exception. Without callers, asyncio would log that it was never retrieved.
            self._client.add_done_callback(lambda future: future.cancelled() or future.exception())
        return self._client

    async def _wait_for_server(self, client: Client, post: PostMessage) -> tuple[WorkspaceInfo, int]:
        """Wait until the server responds. It may be started after the application.

        Returns the workspace and the cursor from which to receive events. The cursor is read before any screen loads
        data, so that no event is missed. Failed attempts are reported only once.
        """
        is_reported = False
        while True:
            try:
                return await client.workspace(), await client.cursor()
            except ServerUnreachableError as error:
                if error.is_permanent:
                    raise
                if not is_reported:
                    self._post_state(post, error)
                is_reported = True
                await asyncio.sleep(RETRY_INTERVAL)

    async def _listen(self, client: Client, cursor: int, post: PostMessage) -> None:
        batcher = _EventBatcher(post)
        try:
            async for event in client.events(cursor):
                batcher.add(event)
        except SealyardError as error:
            # The client reconnects automatically, so this is a permanent error, such as an expired token.
            self._fail(error, post)
        finally:
            batcher.stop()

    def _on_status(self, future: asyncio.Future[Client], status: ConnectionStatus, post: PostMessage) -> None:
        """Post the connection status of the current client, and request a reload of all data after a reconnect."""
        if future is not self._client or self._state is EngineState.FAILED:
            return
        previous, self._status = self._status, status
        self._post_state(post)
        if previous.reconnecting_since is not None and status.is_connected and self._is_open:
            post(EngineUpdate({}, {}, missed_events=True))

    @property
    def _is_open(self) -> bool:
        return self._state not in (EngineState.STARTING, EngineState.UNVERIFIED)

    def _fail(self, error: SealyardError, post: PostMessage) -> None:
        self._state = EngineState.FAILED
        self._post_state(post, error)

    def _post_state(self, post: PostMessage, error: SealyardError | None = None) -> None:
        is_disconnected = self._status.reconnecting_since is not None and self._state is not EngineState.FAILED
        state = EngineState.RECONNECTING if is_disconnected else self._state
        post(ConnectionChanged(state, self.connection.mode, error, self._status))

    def add_identities(self, identities: Iterable[str]) -> None:
        """Set the users of a local workspace, who can be chosen as identities even if they have no profile."""
        self._identities = tuple(identities)

    @property
    def available_profiles(self) -> tuple[Profile, ...]:
        """All profiles, and a temporary profile for each known user without one, sorted by name.

        The order does not depend on the current profile.
        """
        identities = {profile.identity for profile in self.profiles}
        others = (identity for identity in self._identities if identity not in identities)
        profiles = (*self.profiles, *map(self._temporary_profile, others))
        return tuple(sorted(profiles, key=lambda profile: (profile.name.casefold(), profile.name)))

    def _temporary_profile(self, identity: str) -> Profile:
        name = identity.partition(":")[2]
        is_used = any(profile.name == name for profile in self.profiles)
        return Profile(name=identity if is_used else name, identity=identity, workspace=self.profile.workspace)

    def next_profile(self, names: SubjectNames) -> Profile:
        """Return the profile after the current one, wrapping around at the end.

        Profiles of people who are disabled or removed according to ``names`` are skipped.
        """
        profiles = [
            each for each in self.available_profiles if each == self.profile or not is_inactive(each.identity, names)
        ]
        names_of_profiles = [profile.name for profile in profiles]
        index = names_of_profiles.index(self.profile.name) if self.profile.name in names_of_profiles else -1
        return profiles[(index + 1) % len(profiles)] if profiles else self.profile


class _EventBatcher:
    """A batcher for engine events.

    The first event after a pause is posted immediately, later events in batches every :data:`BATCH_SECONDS`.
    """

    def __init__(self, post: PostMessage) -> None:
        self._post = post
        self._tasks: dict[str, TaskChanged] = {}
        self._progress: dict[str, TaskProgressed] = {}
        self._resources: set[str] = set()
        self._missed_events = False
        self._timer: asyncio.TimerHandle | None = None
        self._last_post = float("-inf")

    def add(self, event: Event) -> None:
        if isinstance(event, TaskChanged):
            self._tasks[event.task_id] = event
        elif isinstance(event, TaskProgressed):
            self._progress[event.task_id] = event
        elif isinstance(event, WorkspaceChanged):
            self._resources.add(event.resource)
        elif isinstance(event, EventsMissed):
            self._missed_events = True
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._last_post + BATCH_SECONDS), self._post_batch)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _post_batch(self) -> None:
        self._timer = None
        self._last_post = asyncio.get_running_loop().time()
        update = EngineUpdate(self._tasks, self._progress, frozenset(self._resources), self._missed_events)
        self._tasks.clear()
        self._progress.clear()
        self._resources.clear()
        self._missed_events = False
        self._post(update)
