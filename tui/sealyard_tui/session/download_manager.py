"""The downloads of the session, which run on a separate thread, and the latest status of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from textual.app import App

from sealyard.client.downloads.events import (
    DownloadedFile,
    DownloadEvent,
    DownloadProgress,
    DownloadResult,
    DownloadsInterrupted,
    VerifiedBy,
)
from sealyard.client.protocol import Client
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.model.access import subject_kind
from sealyard.model.errors import ConflictError, SealyardError, ServerUnreachableError
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_keys
from sealyard_tui.session.hints import error_text
from sealyard_tui.session.messages import DownloadUpdate
from sealyard_tui.session.state import SessionState

if TYPE_CHECKING:
    from sealyard.client.downloads.downloader import Downloader
    from sealyard.client.downloads.history import DownloadHistory

log = logging.getLogger(__name__)

DownloadStatus = DownloadProgress | DownloadResult | VerifiedBy


class _Worker(NamedTuple):
    """A downloader, its download history, and the thread that runs both."""

    thread: LoopThread
    downloader: Downloader
    history: DownloadHistory


class DownloadManager:
    """Manager of the downloads of one identity at a time.

    ``folder``: the directory for downloaded results; None if downloads are disabled. ``by_task``: the latest event of
    each download in this session, by task id. The download thread posts events to the application, which passes them to
    :meth:`on_event`.
    """

    def __init__(
        self,
        app: App[Any],
        folder: Path | None,
        *,
        automatic: bool,
        state: Callable[[], SessionState],
        on_change: Callable[[], None],
        on_result: Callable[[DownloadResult], None],
    ) -> None:
        self.folder = folder
        self.by_task: dict[str, DownloadProgress | DownloadResult] = {}
        self._app = app
        self._automatic = automatic
        self._state = state
        self._on_change = on_change
        self._on_result = on_result
        self._worker: _Worker | None = None
        self._download_loop: asyncio.Task[None] | None = None
        self._needs_retry = False
        self._lock = asyncio.Lock()
        """Serializes :meth:`start` and :meth:`stop`."""

    @property
    def is_automatic(self) -> bool:
        """Whether results are downloaded automatically."""
        return self.folder is not None and self._automatic and self._state().can_write

    @property
    def running(self) -> list[DownloadProgress]:
        return [event for event in self.by_task.values() if isinstance(event, DownloadProgress)]

    def status(self, task_id: str) -> DownloadStatus | None:
        """Return the download status of a task in this session or, if there is none, in the download history.

        Returns None if neither contains the task.
        """
        if (event := self.by_task.get(task_id)) is not None:
            return event
        file = self._stored_file(task_id)
        return file.checked if file is not None else None

    def path(self, task_id: str) -> str | None:
        """Return the path of the downloaded result of a task; None if it has not been downloaded."""
        event = self.by_task.get(task_id)
        if isinstance(event, DownloadResult) and event.downloaded is not None:
            return event.downloaded.path
        file = self._stored_file(task_id)
        return file.path if file is not None else None

    # ---- start and stop

    async def start(self, client: Client) -> None:
        """Start the download thread and any automatic downloads, or retry downloads that failed while disconnected.

        Raises :class:`UsageError` if the path of the download folder is not valid Unicode.
        """
        async with self._lock:
            if self._worker is not None and self._needs_retry:
                self._needs_retry = False
                await self._restart_loop()
            if self.folder is None or self._worker is not None:
                return
            self._worker = worker = await self._open(client, self.folder)
            if self.is_automatic:
                self._start_loop(worker)
        if worker.history.warning:
            self._app.notify(escape_text(worker.history.warning), severity="warning", markup=False)

    async def stop(self) -> None:
        """Stop all downloads and clear their status. Automatic downloads resume when the manager is started again."""
        self.by_task.clear()
        self._on_change()
        async with self._lock:
            worker, self._worker = self._worker, None
            if worker is not None:
                await self._stop_loop()
                await asyncio.to_thread(worker.thread.stop)

    async def _open(self, client: Client, folder: Path) -> _Worker:
        from sealyard.client.downloads.downloader import Downloader
        from sealyard.client.downloads.history import DownloadHistory

        path = self._history_path()

        async def open_on_thread() -> tuple[Downloader, DownloadHistory]:
            history = DownloadHistory(path)
            return Downloader(client, folder, history), history

        thread = LoopThread("sealyard-downloads")
        try:
            return _Worker(thread, *await thread.call(open_on_thread()))
        except BaseException:
            await asyncio.to_thread(thread.stop)
            raise

    def _start_loop(self, worker: _Worker) -> None:
        self._download_loop = asyncio.create_task(worker.thread.call(worker.downloader.run(self._post)))
        self._download_loop.add_done_callback(self._on_loop_done)

    async def _stop_loop(self) -> None:
        if self._download_loop is not None:
            self._download_loop.cancel()
            await asyncio.gather(self._download_loop, return_exceptions=True)

    async def _restart_loop(self) -> None:
        if self._download_loop is not None and self._worker is not None:
            await self._stop_loop()
            self._start_loop(self._worker)

    def _on_loop_done(self, task: asyncio.Task[None]) -> None:
        """Log and report a crash of the download loop, so that users do not wait for downloads that never start."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.critical("automatic downloads crashed", exc_info=error)
        internal_error = SealyardError(
            "Automatic downloads stopped: internal error.",
            "See the log for details. Results can still be downloaded one by one; restart to download all of them.",
        )
        self._post(DownloadsInterrupted(error=internal_error.to_info(), retry_in=None))

    # ---- downloads

    async def download(self, task_id: str, name: str) -> DownloadResult:
        """Download the result of a task immediately, and post the progress and the outcome as events.

        A :class:`SealyardError` is not raised but returned as part of the outcome.
        """
        worker = self._worker
        if worker is None:
            not_started = ConflictError("Downloads are still starting.", "Try again in a moment.")
            return DownloadResult(task_id=task_id, name=name, error=not_started.to_info())

        def report(done: int, total: int) -> None:
            self._post(DownloadProgress(task_id=task_id, name=name, bytes_done=done, bytes_total=total))

        try:
            file = await worker.thread.call(worker.downloader.download(task_id, progress=report))
            result = DownloadResult(task_id=task_id, name=name, downloaded=file)
        except SealyardError as error:
            result = DownloadResult(task_id=task_id, name=name, error=error.to_info())
        self._post(result)
        return result

    def _post(self, event: DownloadEvent) -> None:
        """Post the event to the application. May be called from any thread."""
        self._app.post_message(DownloadUpdate(event))

    def on_event(self, event: DownloadEvent) -> None:
        """Handle an event posted by :meth:`_post`: record it, or warn the user if downloads were interrupted."""
        if isinstance(event, DownloadsInterrupted):
            self._warn_interrupted(event)
            return
        if self.by_task.get(event.task_id) == event:
            # A download that two callers are waiting for reports its result twice.
            return
        self.by_task[event.task_id] = event
        self._on_change()
        if isinstance(event, DownloadResult):
            self._on_finished(event)

    def _warn_interrupted(self, event: DownloadsInterrupted) -> None:
        if event.error.code == ServerUnreachableError.code:
            # The status bar already shows that the connection is lost.
            return
        retry_text = f" Retrying in {event.retry_in:g} s." if event.retry_in is not None else ""
        text = error_text(event.error, action_keys(self._app)) + retry_text
        self._app.notify(escape_text(text), severity="warning", markup=False)

    def _on_finished(self, result: DownloadResult) -> None:
        is_disconnected = result.error is not None and result.error.code == ServerUnreachableError.code
        self._needs_retry = self._needs_retry or (is_disconnected and result.retry_in is None)
        if not (is_disconnected and result.retry_in is not None):
            self._on_result(result)

    # ---- history

    def _stored_file(self, task_id: str) -> DownloadedFile | None:
        return self._worker.history.get(task_id) if self._worker is not None else None

    def _history_path(self) -> Path:
        """Return the path of the download history.

        The file is next to the workspace in a demo, otherwise in the user's state directory.
        """
        from sealyard.client.downloads.history import default_history_path

        state = self._state()
        if state.demo:
            name = state.identity.removeprefix(f"{subject_kind(state.identity)}:")
            return Path(state.location).parent / "state" / f"downloads-{name}.json"
        return default_history_path(state.workspace_id, state.identity)
