"""Detect changes in a watch folder, even if the operating system does not report them."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from sealyard.fs.mounts import is_on_network
from sealyard.model.clock import Clock
from sealyard.model.safe_text import escape_text

STEP_MILLISECONDS = 200
"""Interval (milliseconds) at which watchfiles collects changes."""

POLL_INTERVAL = 2.0
"""Seconds between two scans if the operating system does not report all changes."""

log = logging.getLogger(__name__)


async def watch_changes(folder: Path, change_event: asyncio.Event, clock: Clock, *, force_polling: bool) -> None:
    """Set ``change_event`` after every change in the folder, until cancelled.

    The operating system reports the changes. If it cannot (a subfolder is unreadable, or the user's limit of watches is
    reached), if the folder is on a network file system, or with ``force_polling``, ``change_event`` is set every
    :data:`POLL_INTERVAL` seconds, whether or not there was a change.
    """
    last_reason = ""
    while True:
        if not force_polling and not await asyncio.to_thread(_is_network_folder, folder):
            try:
                await _receive_changes(folder, change_event)
            except (OSError, RuntimeError, ExceptionGroup) as error:  # watchfiles reports some errors as RuntimeError
                reason = escape_text(str(_unwrap_error(error)))
                if reason != last_reason:
                    log.warning("cannot watch %s for changes, polling instead: %s", escape_text(str(folder)), reason)
                last_reason = reason
        await clock.sleep(POLL_INTERVAL)
        change_event.set()


async def wait_for_change(
    change_event: asyncio.Event, seconds: float, watch_task: asyncio.Task[None], clock: Clock
) -> None:
    """Wait up to ``seconds`` for a change. Raises the exception of ``watch_task`` if that task has failed."""
    waits = {asyncio.create_task(change_event.wait()), asyncio.create_task(clock.sleep(seconds))}
    try:
        await asyncio.wait({*waits, watch_task}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    if watch_task.done():
        watch_task.result()


async def _receive_changes(folder: Path, change_event: asyncio.Event) -> None:
    from watchfiles import awatch

    async for _ in awatch(folder, watch_filter=None, step=STEP_MILLISECONDS, recursive=True):
        change_event.set()


def _is_network_folder(folder: Path) -> bool:
    """Return whether the folder is on a network file system. False if the folder cannot be opened."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return is_on_network(fd)
    finally:
        os.close(fd)


def _unwrap_error(error: Exception) -> Exception:
    """Return the innermost exception: watchfiles wraps the exceptions of its thread in exception groups."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
