"""Messages that the session posts to the application."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from textual.message import Message

from sealyard.client.downloads.events import DownloadEvent
from sealyard.client.http.status import ConnectionStatus
from sealyard.client.watch_folder.events import WatchEvent
from sealyard.model.errors import SealyardError
from sealyard.model.events import TaskChanged, TaskProgressed

DISCONNECTED = ConnectionStatus()


class EngineState(StrEnum):
    """State of the engine, as known to the application.

    ``UNVERIFIED``: the engine is starting, and the data was read without the key store, and not verified.
    """

    STARTING = "starting"
    UNVERIFIED = "unverified"
    READY = "ready"
    READ_ONLY = "read only"
    RECONNECTING = "reconnecting"
    FAILED = "failed"


class ConnectionMode(StrEnum):
    """Mode of access to the workspace: as its owner, through a local owner process, read-only, or through a server."""

    OWNER = "owner"
    ATTACHED = "attached"
    READ_ONLY = "read only"
    SERVER = "server"


class ConnectionChanged(Message):
    """Message posted when the engine has opened or failed, or when the connection is lost or restored.

    ``error``: the reason for the failure or for read-only access, or another connection error. ``status``: the status
    of the connection to the server or to the process that owns the workspace.
    """

    def __init__(
        self,
        state: EngineState,
        mode: ConnectionMode,
        error: SealyardError | None = None,
        status: ConnectionStatus = DISCONNECTED,
    ) -> None:
        super().__init__()
        self.state = state
        self.mode = mode
        self.error = error
        self.status = status


class EngineUpdate(Message):
    """A batch of engine events.

    ``tasks`` and ``progress``: the latest events of each task, by task id. ``resources``: the ids of changed resources.
    ``missed_events``: whether events were lost, so that all data must be reloaded.
    """

    def __init__(
        self,
        tasks: Mapping[str, TaskChanged],
        progress: Mapping[str, TaskProgressed],
        resources: frozenset[str] = frozenset(),
        missed_events: bool = False,
    ) -> None:
        super().__init__()
        self.tasks = dict(tasks)
        self.progress = dict(progress)
        self.resources = resources
        self.missed_events = missed_events

    @property
    def durable(self) -> bool:
        """Whether stored data may have changed; False if the batch contains only progress."""
        return bool(self.tasks or self.resources or self.missed_events)

    @property
    def may_change_subjects(self) -> bool:
        return self.missed_events or any(resource.startswith("SUBJECT:") for resource in self.resources)


class DownloadUpdate(Message):
    """A download event: progress, a result, or an interruption of automatic downloads."""

    def __init__(self, event: DownloadEvent) -> None:
        super().__init__()
        self.event = event


class WatchFolderUpdate(Message):
    """An event from the watch folder, or the ``error`` that stopped the watcher."""

    def __init__(self, event: WatchEvent | None, error: SealyardError | None = None) -> None:
        super().__init__()
        self.event = event
        self.error = error
