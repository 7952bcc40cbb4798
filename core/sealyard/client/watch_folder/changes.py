"""Detect changes in a watch folder, even if the operating system reports only some of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sealyard.client.watch_folder.scan import has_unreadable_dirs
from sealyard.concurrency.threads import run_cancellable
from sealyard.model.clock import Clock
from sealyard.model.errors import InvalidInputError

STEP_MILLISECONDS = 200
"""Interval (milliseconds) at which watchfiles collects changes."""

POLL_INTERVAL = 2.0
"""Seconds between two scans if the operating system does not report all changes."""


async def watch_changes(folder: Path, change_event: asyncio.Event, clock: Clock, *, force_polling: bool) -> None:
    """Set ``change_event`` after every change in the folder, until cancelled.

    If a subfolder cannot be read, the operating system reports no changes or only some of them. In this case,
    ``change_event`` is also set every :data:`POLL_INTERVAL` seconds.

    Raises :class:`InvalidInputError` if ``folder`` does not exist, is removed or cannot be watched.
    """
    while True:
        try:
            await _receive_changes(folder, change_event, force_polling)
        except (OSError, RuntimeError, ExceptionGroup) as error:  # watchfiles reports some errors as RuntimeError
            if not await run_cancellable(lambda check: has_unreadable_dirs(folder, check)):
                raise InvalidInputError(
                    f"Cannot watch {folder} for changes ({_unwrap_error(error)}).",
                    "Check that the folder exists; if the system cannot report changes, use polling.",
                ) from error
        await clock.sleep(POLL_INTERVAL)
        change_event.set()


async def _receive_changes(folder: Path, change_event: asyncio.Event, force_polling: bool) -> None:
    from watchfiles import awatch

    polling = True if force_polling else None
    async for _ in awatch(folder, watch_filter=None, step=STEP_MILLISECONDS, force_polling=polling, recursive=True):
        change_event.set()


def _unwrap_error(error: Exception) -> Exception:
    """Return the innermost exception: watchfiles wraps the exceptions of its thread in exception groups."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
