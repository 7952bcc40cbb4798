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
    """State of the engine as the application sees it."""

    STARTING = "starting"
    READY = "ready"
    READ_ONLY = "read only"
    RECONNECTING = "reconnecting"
    FAILED = "failed"


class ConnectionMode(StrEnum):
    """How the workspace is reached: owned by this process, through its owner on this machine, or on a server."""

    OWNER = "owner"
    ATTACHED = "attached"
    READ_ONLY = "read only"
    SERVER = "server"


class ConnectionChanged(Message):
    """The engine was opened or failed to open, or the connection was lost or restored.

    ``error``: why the engine failed, why the workspace is read-only, or another connection error. ``status``: status of
    the connection to a server or to the owner.
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
    """A batch of engine events, with the latest event of each task.

    ``resources``: ids of changed resources. ``missed_events``: events were lost, so all data must be reloaded.
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
        """Whether the batch contains changes to stored data, not only progress."""
        return bool(self.tasks or self.resources or self.missed_events)

    @property
    def may_change_subjects(self) -> bool:
        return self.missed_events or any(resource.startswith("SUBJECT:") for resource in self.resources)


class DownloadUpdate(Message):
    """The progress or result of a download."""

    def __init__(self, event: DownloadEvent) -> None:
        super().__init__()
        self.event = event


class WatchFolderUpdate(Message):
    """An event of the watch folder, or the ``error`` that ended watching."""

    def __init__(self, event: WatchEvent | None, error: SealyardError | None = None) -> None:
        super().__init__()
        self.event = event
        self.error = error
