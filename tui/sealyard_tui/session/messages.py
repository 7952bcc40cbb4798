"""Messages of the session to the application, batched so that a busy engine does not flood the screens."""

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

    OWNER = "holds"
    ATTACHED = "attached"
    READ_ONLY = "reads"
    SERVER = "server"


class ConnectionChanged(Message):
    """The engine was opened or failed to, or the connection was lost or restored.

    ``error`` is the reason of a failure, or why the workspace is read-only; ``status`` is that of the connection, if
    there is one.
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
    """Events of a tenth of a second, only the latest of each task.

    ``missed_events``: some were missed; everything must be read again.
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
        """Whether it has more than progress."""
        return bool(self.tasks or self.resources or self.missed_events)


class DownloadUpdate(Message):
    """Progress or result of a download."""

    def __init__(self, event: DownloadEvent) -> None:
        super().__init__()
        self.event = event


class WatchFolderUpdate(Message):
    """An event of the watch folder, or the ``error`` because of which it is no longer watched."""

    def __init__(self, event: WatchEvent | None, error: SealyardError | None = None) -> None:
        super().__init__()
        self.event = event
        self.error = error
