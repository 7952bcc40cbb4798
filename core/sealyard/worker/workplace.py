"""A task's folder on the disk, held by one worker at a time."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sealyard.model.errors import WorkerError

PATIENCE_SECONDS = 10.0
POLL_SECONDS = 0.05


@asynccontextmanager
async def held(place: Path) -> AsyncIterator[Path]:
    """``place`` under a lock. A worker of an engine that has just died may still hold it for a moment.

    Raises :class:`WorkerError` where the other one does not let go.
    """
    lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        await _locked(lock)
        yield place
    finally:
        os.close(lock)


async def _locked(lock: int) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if asyncio.get_running_loop().time() > deadline:
                raise WorkerError(
                    "Another worker still holds this task's files.", "End the stray sealyard.worker process."
                ) from None
            await asyncio.sleep(POLL_SECONDS)
        else:
            return
