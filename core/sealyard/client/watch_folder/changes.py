"""Notice changes in a watch folder, also where the system reports only some of them."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sealyard.client.watch_folder.scan import has_unreadable_dirs
from sealyard.concurrency.threads import run_cancellable
from sealyard.model.clock import Clock
from sealyard.model.errors import InvalidInputError

STEP_MILLISECONDS = 200
"""Interval at which watchfiles collects changes."""

POLL_INTERVAL = 2.0
"""Seconds between two scans if the system does not report changes."""


async def watch_changes(folder: Path, changed: asyncio.Event, clock: Clock, *, force_polling: bool) -> None:
    """Set ``changed`` after every change in the folder, until cancelled.

    If a folder in it cannot be read, the system reports no changes or only some of them. In this case, also set
    ``changed`` every :data:`POLL_INTERVAL` seconds. Raises :class:`InvalidInputError` if the folder does not exist, is
    removed or cannot be watched.
    """
    while True:
        try:
            await _receive_changes(folder, changed, force_polling)
        except (OSError, RuntimeError, ExceptionGroup) as error:  # watchfiles raises RuntimeError itself
            if not await run_cancellable(lambda check: has_unreadable_dirs(folder, check)):
                raise InvalidInputError(
                    f"Cannot watch {folder} for changes ({_innermost(error)}).",
                    "Check that the folder exists; if the system cannot report changes, use polling.",
                ) from error
        await clock.sleep(POLL_INTERVAL)
        changed.set()


async def _receive_changes(folder: Path, changed: asyncio.Event, force_polling: bool) -> None:
    from watchfiles import awatch

    polling = True if force_polling else None
    async for _ in awatch(folder, watch_filter=None, step=STEP_MILLISECONDS, force_polling=polling, recursive=True):
        changed.set()


def _innermost(error: Exception) -> Exception:
    """Unwrap the exception: watchfiles raises exceptions of its thread in exception groups."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
