"""Finished packages come down by themselves: the downloads of one person, on a thread of their own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from sealyard.client.downloads.downloader import (
    DownloadedFile,
    Downloader,
    DownloadEvent,
    DownloadHistory,
    DownloadProgress,
    DownloadResult,
    DownloadsInterrupted,
)
from sealyard.client.protocol import Client
from sealyard.concurrency.loop_thread import LoopThread
from sealyard.model.errors import ConflictError, SealyardError

OnDownload = Callable[[DownloadEvent], None]

log = logging.getLogger(__name__)


class DownloadRunner:
    """Begun for each person anew; what is on its way when it stops is taken up again by the next."""

    def __init__(self, client: Client, folder: Path, marks: Path, on_event: OnDownload) -> None:
        """``marks``: the file of what came down already. ``on_event`` is called on any thread."""
        self.folder = folder
        self._client = client
        self._marks = marks
        self._on_event = on_event
        self._thread = LoopThread("sealyard-downloads")
        self._downloads: Downloader | None = None
        self._state: DownloadHistory | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self, *, automatic: bool) -> str:
        """What a person should know, else an empty text. Raises :class:`StorageError`, :class:`UsageError`."""

        async def made() -> tuple[Downloader, DownloadHistory]:
            state = DownloadHistory(self._marks)
            return Downloader(self._client, self.folder, state), state

        downloads, state = await self._thread.call(made())
        self._downloads, self._state = downloads, state
        if automatic:
            self._run(downloads)
        return state.warning

    async def restart(self) -> None:
        """What was given up is tried again, where results come down by themselves."""
        if self._running is not None and self._downloads is not None:
            await self._stop_loop()
            self._run(self._downloads)

    async def download(self, task_id: str, name: str, *, again: bool = False) -> DownloadResult:
        """Now, and told of like the others. Raises nothing of the family: what went wrong is in the outcome."""
        downloads = self._downloads
        if downloads is None:
            not_yet = ConflictError("The downloads are still being made ready.", "Try again in a moment.")
            return DownloadResult(task_id=task_id, name=name, error=not_yet.to_info())

        def tell(done: int, total: int) -> None:
            self._on_event(DownloadProgress(task_id=task_id, name=name, bytes_done=done, bytes_total=total))

        try:
            downloaded = await self._thread.call(downloads.download(task_id, progress=tell, force=again))
            outcome = DownloadResult(task_id=task_id, name=name, downloaded=downloaded)
        except SealyardError as error:
            outcome = DownloadResult(task_id=task_id, name=name, error=error.to_info())
        self._on_event(outcome)
        return outcome

    def get(self, task_id: str) -> DownloadedFile | None:
        """What is known of a task's file, from earlier sessions too."""
        return self._state.get(task_id) if self._state is not None else None

    async def stop(self) -> None:
        await self._stop_loop()
        await asyncio.to_thread(self._thread.stop)

    def _run(self, downloads: Downloader) -> None:
        self._running = asyncio.create_task(self._thread.call(downloads.run(self._on_event)))
        self._running.add_done_callback(self._ended)

    def _ended(self, running: asyncio.Task[None]) -> None:
        """Whoever waits for a result must not wait in vain for one that nobody fetches any more."""
        if running.cancelled() or (error := running.exception()) is None:
            return
        log.critical("results come down by themselves no more", exc_info=error)
        fault = SealyardError(
            "Results come down by themselves no more: something went wrong that should not have.",
            "The log says what it was. Results can still be fetched one by one; a new start fetches all of them.",
        )
        self._on_event(DownloadsInterrupted(error=fault.to_info(), retry_in=None))

    async def _stop_loop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
