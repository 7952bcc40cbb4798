"""Long work on files in a thread, that ends when who waits for it is cancelled."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

GoOn = Callable[[int], None]
"""To be called now and then, with the bytes just done; raises once the work is not wanted any more."""


class _CancelledError(Exception):
    pass


async def off_loop(work: Callable[[GoOn], T]) -> T:
    """What ``work`` returns. A cancellation, and any further one, goes on only when the thread let go of its files."""
    unwanted = threading.Event()

    def go_on(_: int) -> None:
        if unwanted.is_set():
            raise _CancelledError

    # No task of its own: whoever cancels all tasks of a loop would take it for ended while the thread goes on.
    running = asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, work, go_on)
    try:
        await asyncio.wait({running})
    except asyncio.CancelledError:
        unwanted.set()
        await _end_of(running)
        raise
    return running.result()


async def _end_of(running: asyncio.Future[T]) -> None:
    """However often its caller is cancelled: the files must not be closed under the thread."""
    while not running.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({running})
    running.exception()  # else asyncio complains that nobody looked at it
