"""What the session tells the application, as Textual messages; gathered, so that a busy engine floods no screen."""

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
    STARTING = "starting"
    READY = "ready"
    READ_ONLY = "read only"
    RECONNECTING = "reconnecting"
    FAILED = "failed"


class ConnectionMode(StrEnum):
    """How one is at the workspace: it is held here, or by another process of this machine, or on a server."""

    OWNER = "holds"
    ATTACHED = "attached"
    READ_ONLY = "reads"
    SERVER = "server"


class ConnectionChanged(Message):
    """The engine came up or could not, or the line to it was lost or is back.

    ``error`` says why it could not, also why it can only be read; ``status`` is where there is a line.
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
    """What happened within a tenth of a second: of each task the newest.

    ``missed_events``: something was missed; read everything anew.
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
        """Whether anything but progress is in it."""
        return bool(self.tasks or self.resources or self.missed_events)


class DownloadUpdate(Message):
    """How a download goes."""

    def __init__(self, event: DownloadEvent) -> None:
        super().__init__()
        self.event = event


class WatchFolderUpdate(Message):
    """What the watch folder found, or ``error``: why it can no longer be watched."""

    def __init__(self, event: WatchEvent | None, error: SealyardError | None = None) -> None:
        super().__init__()
        self.event = event
        self.error = error
