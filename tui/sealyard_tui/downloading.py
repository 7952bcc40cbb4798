"""Finished packages come down by themselves: the downloads of one person, on a thread of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from sealyard.client.downloads import Downloaded, DownloadEvent, Downloads, DownloadState, state_file
from sealyard.client.protocol import Client
from sealyard.client.thread import LoopThread

OnDownload = Callable[[DownloadEvent], None]


class Downloading:
    """Begun for each person anew; what is on its way when it stops is taken up again by the next."""

    def __init__(self, client: Client, folder: Path, workspace_id: str, subject: str, on_event: OnDownload) -> None:
        """``on_event`` is called on the thread of the downloads."""
        self.folder = folder
        self._client = client
        self._marks = state_file(workspace_id, subject)
        self._on_event = on_event
        self._thread = LoopThread("sealyard-downloads")
        self._downloads: Downloads | None = None
        self._running: asyncio.Task[None] | None = None

    async def start(self, *, automatic: bool) -> str:
        """What a person should know, else an empty text. Raises :class:`StorageError`, :class:`UsageError`."""

        async def made() -> tuple[Downloads, str]:
            state = DownloadState(self._marks)
            return Downloads(self._client, self.folder, state), state.warning

        downloads, warning = await self._thread.call(made())
        self._downloads = downloads
        if automatic:
            self._running = asyncio.create_task(self._thread.call(downloads.run(self._on_event)))
        return warning

    async def fetch(self, task_id: str, *, again: bool = False) -> Downloaded:
        """Now, and told of like the others. Raises what :meth:`Downloads.fetch` raises."""
        downloads = self._downloads
        assert downloads is not None
        return await self._thread.call(downloads.fetch(task_id, again=again))

    async def downloaded(self, task_id: str) -> Downloaded | None:
        """What is known of a task's file from earlier."""
        marks = self._marks

        async def look() -> Downloaded | None:
            return DownloadState(marks).downloaded(task_id)

        return await self._thread.call(look())

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await asyncio.to_thread(self._thread.stop)
