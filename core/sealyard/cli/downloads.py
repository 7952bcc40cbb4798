"""Functions for downloading results, shared by several commands."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.cli.context import Context
from sealyard.model.errors import WorkspaceLockedError, WorkspaceReadOnlyError
from sealyard.model.formatting import format_count
from sealyard.model.tasks import Task

if TYPE_CHECKING:
    from sealyard.client.downloads.downloader import DownloadedFile, Downloader
    from sealyard.client.protocol import Client

LOCK_TIMEOUT = 30.0
"""Seconds to wait for the command that ran the task to release the workspace."""
_RETRY_SECONDS = 0.2


async def make_downloader(ctx: Context, client: Client, folder: Path) -> Downloader:
    from sealyard.client.downloads.downloader import Downloader
    from sealyard.client.downloads.history import DownloadHistory, default_history_path

    info = await client.workspace()
    history = DownloadHistory(default_history_path(info.id, info.subject))
    if history.warning:
        ctx.out.warn(f"warning: {history.warning}")
    return Downloader(client, folder, history)


async def download(ctx: Context, client: Client, task: Task, folder: Path) -> DownloadedFile:
    """Download the result of a task to ``folder``, print a summary and any warnings, and return the file.

    Raises the errors of :meth:`sealyard.client.downloads.downloader.Downloader.download`.
    """
    downloader = await make_downloader(ctx, client, folder)
    file = await downloader.download(task.id, progress=ctx.out.progress.for_file(task.name))
    ctx.out.warn(format_download(file))
    for warning in file.warnings:
        ctx.out.warn(f"warning: {warning}")
    return file


def download_url(ctx: Context, task: Task) -> str | None:
    """Return the URL of a result on a server, from which it can be downloaded without a token until the link expires.

    None if the task has no such result, or the workspace is on this machine.
    """
    if not ctx.profile.server or task.result is None or task.result.link is None:
        return None
    from sealyard.client.http.results import link_url

    return link_url(ctx.profile.server, task.result.link)


def format_download(file: DownloadedFile) -> str:
    return f"{file.path}: {format_count(file.size, 'byte')}, sha256 {file.sha256}, verified by {file.checked}"


@contextlib.asynccontextmanager
async def open_for_download(ctx: Context) -> AsyncIterator[Client]:
    """Yield a client for downloads: for writing, so that they are audited, or for reading if the disk is read-only."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(ctx.open_writer("download"))
        except WorkspaceReadOnlyError:
            client = await stack.enter_async_context(ctx.open_reader())
        yield client


@contextlib.asynccontextmanager
async def wait_for_download(ctx: Context, deadline: float | None) -> AsyncIterator[Client]:
    """Yield the client of :func:`open_for_download` as soon as the process that owns the workspace releases it.

    ``deadline``: the event loop time until which to wait, but at most :data:`LOCK_TIMEOUT` seconds from now, which is
    also the default. Raises :class:`WorkspaceLockedError` if the workspace is not released by then.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    lock_deadline = loop.time() + LOCK_TIMEOUT
    lock_deadline = lock_deadline if deadline is None else min(lock_deadline, deadline)
    async with contextlib.AsyncExitStack() as stack:
        while True:
            try:
                client = await stack.enter_async_context(open_for_download(ctx))
                break
            except WorkspaceLockedError:
                if loop.time() >= lock_deadline:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)
        yield client
