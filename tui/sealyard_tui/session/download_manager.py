"""This session's downloads as the places see them: the newest of each, and where results go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual.signal import Signal

from sealyard.client.downloads.events import DownloadEvent, DownloadProgress, DownloadResult, DownloadsInterrupted
from sealyard.client.protocol import Client
from sealyard.model.access import subject_kind
from sealyard.model.errors import ServerUnreachableError
from sealyard.model.safe_text import escape_text
from sealyard_tui.session.hints import error_text
from sealyard_tui.session.messages import DownloadUpdate

if TYPE_CHECKING:
    from sealyard_tui.app import SealyardApp
    from sealyard_tui.session.download_runner import DownloadRunner


class DownloadManager:
    """``folder``: where results go; None where nothing is downloaded. ``known``: by task id. Anew for each person."""

    def __init__(self, app: SealyardApp, folder: Path | None) -> None:
        self.folder = folder
        self.by_task: dict[str, DownloadProgress | DownloadResult] = {}
        self.changed: Signal[None] = Signal(app, "downloads")
        self.runner: DownloadRunner | None = None
        self._app = app
        self._needs_retry = False

    @property
    def is_automatic(self) -> bool:
        """Whether results come down without being asked for."""
        return self.folder is not None and self._app.settings.auto_download and self._app.state.can_write

    @property
    def running(self) -> list[DownloadProgress]:
        return [each for each in self.by_task.values() if isinstance(each, DownloadProgress)]

    async def start(self, client: Client) -> None:
        """Those that were given up while the line was lost are taken up again."""
        if self.runner is not None and self._needs_retry:
            self._needs_retry = False
            await self.runner.restart()
        if self.folder is None or self.runner is not None:
            return
        from sealyard_tui.session.download_runner import DownloadRunner

        self.runner = DownloadRunner(client, self.folder, self._history_path(), self._tell)
        if warning := await self.runner.start(automatic=self.is_automatic):
            self._app.notify(escape_text(warning), severity="warning", markup=False)

    async def stop(self) -> None:
        downloading, self.runner = self.runner, None
        self.by_task.clear()
        self.changed.publish(None)
        if downloading is not None:
            await downloading.stop()

    def on_event(self, event: DownloadEvent) -> None:
        if isinstance(event, DownloadsInterrupted):
            if event.error.code == ServerUnreachableError.code:
                # The top of the screen says it.
                return
            again = f" Trying again in {event.retry_in:g} s." if event.retry_in is not None else ""
            self._app.notify(escape_text(error_text(event.error) + again), severity="warning", markup=False)
            return
        if self.by_task.get(event.task_id) == event:
            # A transfer that was asked for twice tells of its end twice.
            return
        self.by_task[event.task_id] = event
        self.changed.publish(None)
        if isinstance(event, DownloadResult):
            self._on_finished(event)

    def _on_finished(self, outcome: DownloadResult) -> None:
        lost = outcome.error is not None and outcome.error.code == ServerUnreachableError.code
        self._needs_retry = self._needs_retry or (lost and outcome.retry_in is None)
        if not (lost and outcome.retry_in is not None):
            self._app.notifier.downloaded(outcome)

    def _tell(self, event: DownloadEvent) -> None:
        """From the thread of the downloads."""
        self._app.post_message(DownloadUpdate(event))

    def _history_path(self) -> Path:
        """A demo leaves nothing behind in the person's own folders."""
        from sealyard.client.downloads.history import default_history_path

        standing = self._app.state
        if standing.demo:
            name = standing.identity.removeprefix(f"{subject_kind(standing.identity)}:")
            return Path(standing.location).parent / "state" / f"downloads-{name}.json"
        return default_history_path(standing.workspace_id, standing.identity)
