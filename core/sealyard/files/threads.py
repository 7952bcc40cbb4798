"""Work on files in threads: a thread cannot be cancelled, so whoever waits for one must wait to its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


def submit(work: Callable[[], T]) -> asyncio.Future[T]:
    """No task of its own: whoever cancels all tasks of a loop would take it for ended while the thread goes on."""
    return asyncio.get_running_loop().run_in_executor(None, copy_context().run, work)


async def wait_uninterrupted(running: asyncio.Future[Any]) -> None:
    """Waits for it, however often who waits is cancelled. What came of it is for who looks there."""
    while not running.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({running})
    if not running.cancelled():
        running.exception()  # else asyncio complains that nobody looked at it
