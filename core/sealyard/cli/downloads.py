"""Results brought down into a folder, checked and marked, for all commands that do so."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.cli.context import Context
from sealyard.model.errors import WorkspaceLockedError
from sealyard.model.tasks import Task

if TYPE_CHECKING:
    from sealyard.client.downloads.downloader import DownloadedFile, Downloader
    from sealyard.client.protocol import Client

LOCK_TIMEOUT = 30.0
"""Seconds in which another command that just finished the work should have let the workspace go."""
_LOOK_AGAIN = 0.2


async def make_downloader(ctx: Context, client: Client, folder: Path) -> Downloader:
    from sealyard.client.downloads.downloader import Downloader
    from sealyard.client.downloads.history import DownloadHistory, default_history_path

    info = await client.workspace()
    state = DownloadHistory(default_history_path(info.id, info.subject))
    if state.warning:
        ctx.out.warn(f"warning: {state.warning}")
    return Downloader(client, folder, state)


async def download(ctx: Context, client: Client, task: Task, folder: Path) -> DownloadedFile:
    """Raises what :meth:`sealyard.client.downloads.downloader.Downloader.fetch` does."""
    downloads = await make_downloader(ctx, client, folder)
    found = await downloads.download(task.id, progress=ctx.out.progress.for_file(task.name))
    ctx.out.warn(format_download(found))
    for warning in found.warnings:
        ctx.out.warn(f"warning: {warning}")
    return found


def format_download(found: DownloadedFile) -> str:
    return f"{found.path}: {found.size} bytes, sha256 {found.sha256}, checked by its {found.checked}"


@contextlib.asynccontextmanager
async def wait_for_writer(ctx: Context, until: float | None) -> AsyncIterator[Client]:
    """The workspace for writing, once its holder lets it go; ``until`` in the loop's time.

    Raises :class:`WorkspaceLockedError` when it is not let go in time.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    limit = loop.time() + LOCK_TIMEOUT
    limit = limit if until is None else min(limit, until)
    async with contextlib.AsyncExitStack() as stack:
        while True:
            try:
                client = await stack.enter_async_context(ctx.open_writer("download"))
                break
            except WorkspaceLockedError:
                if loop.time() >= limit:
                    raise
            await asyncio.sleep(_LOOK_AGAIN)
        yield client
