"""Results brought down into a folder, checked and marked, for all commands that do so."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.cli.context import Context
from sealyard.model.errors import WorkspaceHeldError
from sealyard.model.tasks import Task

if TYPE_CHECKING:
    from sealyard.client.downloads import Downloaded, Downloads
    from sealyard.client.protocol import Client

FREE_WITHIN = 30.0
"""Seconds in which another command that just finished the work should have let the workspace go."""
_LOOK_AGAIN = 0.2


async def downloads_into(ctx: Context, client: Client, folder: Path) -> Downloads:
    from sealyard.client.download_state import DownloadState, state_file
    from sealyard.client.downloads import Downloads

    info = await client.workspace()
    state = DownloadState(state_file(info.id, info.subject))
    if state.warning:
        ctx.out.note(f"warning: {state.warning}")
    return Downloads(client, folder, state)


async def fetch(ctx: Context, client: Client, task: Task, folder: Path) -> Downloaded:
    """Raises what :meth:`sealyard.client.downloads.Downloads.fetch` does."""
    downloads = await downloads_into(ctx, client, folder)
    found = await downloads.fetch(task.id, progress=ctx.out.progress.of(task.name))
    ctx.out.note(downloaded_text(found))
    for warning in found.warnings:
        ctx.out.note(f"warning: {warning}")
    return found


def downloaded_text(found: Downloaded) -> str:
    return f"{found.path}: {found.size} bytes, sha256 {found.sha256}, checked by its {found.checked}"


@contextlib.asynccontextmanager
async def writer_when_free(ctx: Context, until: float | None) -> AsyncIterator[Client]:
    """The workspace for writing, once its holder lets it go; ``until`` in the loop's time.

    Raises :class:`WorkspaceHeldError` when it is not let go in time.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    limit = loop.time() + FREE_WITHIN
    limit = limit if until is None else min(limit, until)
    async with contextlib.AsyncExitStack() as stack:
        while True:
            try:
                client = await stack.enter_async_context(ctx.writer("download"))
                break
            except WorkspaceHeldError:
                if loop.time() >= limit:
                    raise
            await asyncio.sleep(_LOOK_AGAIN)
        yield client
