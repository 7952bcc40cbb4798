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
from sealyard_tui.session.advice import told
from sealyard_tui.session.messages import DownloadNews

if TYPE_CHECKING:
    from sealyard_tui.app import SealyardApp
    from sealyard_tui.session.downloading import Downloading


class DownloadDesk:
    """``folder``: where results go; None where nothing is downloaded. ``known``: by task id. Anew for each person."""

    def __init__(self, app: SealyardApp, folder: Path | None) -> None:
        self.folder = folder
        self.known: dict[str, DownloadProgress | DownloadResult] = {}
        self.changed: Signal[None] = Signal(app, "downloads")
        self.downloading: Downloading | None = None
        self._app = app
        self._given_up = False

    @property
    def by_themselves(self) -> bool:
        """Whether results come down without being asked for."""
        return self.folder is not None and self._app.settings.auto_download and self._app.standing.writable

    @property
    def running(self) -> list[DownloadProgress]:
        return [each for each in self.known.values() if isinstance(each, DownloadProgress)]

    async def begin(self, client: Client) -> None:
        """Those that were given up while the line was lost are taken up again."""
        if self.downloading is not None and self._given_up:
            self._given_up = False
            await self.downloading.catch_up()
        if self.folder is None or self.downloading is not None:
            return
        from sealyard_tui.session.downloading import Downloading

        self.downloading = Downloading(client, self.folder, self._marks(), self._tell)
        if warning := await self.downloading.start(automatic=self.by_themselves):
            self._app.notify(escape_text(warning), severity="warning", markup=False)

    async def end(self) -> None:
        downloading, self.downloading = self.downloading, None
        self.known.clear()
        self.changed.publish(None)
        if downloading is not None:
            await downloading.stop()

    def hear(self, event: DownloadEvent) -> None:
        if isinstance(event, DownloadsInterrupted):
            if event.error.code == ServerUnreachableError.code:
                # The top of the screen says it.
                return
            again = f" Trying again in {event.retry_in:g} s." if event.retry_in is not None else ""
            self._app.notify(escape_text(told(event.error) + again), severity="warning", markup=False)
            return
        if self.known.get(event.task_id) == event:
            # A transfer that was asked for twice tells of its end twice.
            return
        self.known[event.task_id] = event
        self.changed.publish(None)
        if isinstance(event, DownloadResult):
            self._ended(event)

    def _ended(self, outcome: DownloadResult) -> None:
        lost = outcome.error is not None and outcome.error.code == ServerUnreachableError.code
        self._given_up = self._given_up or (lost and outcome.retry_in is None)
        if not (lost and outcome.retry_in is not None):
            self._app.notices.downloaded(outcome)

    def _tell(self, event: DownloadEvent) -> None:
        """From the thread of the downloads."""
        self._app.post_message(DownloadNews(event))

    def _marks(self) -> Path:
        """A demo leaves nothing behind in the person's own folders."""
        from sealyard.client.downloads.history import default_history_path

        standing = self._app.standing
        if standing.demo:
            name = standing.identity.removeprefix(f"{subject_kind(standing.identity)}:")
            return Path(standing.place).parent / "state" / f"downloads-{name}.json"
        return default_history_path(standing.workspace_id, standing.identity)
