"""Work on files in threads: a thread cannot be cancelled, so whoever waits for one must wait to its end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
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


CheckCancelled = Callable[[int], None]
"""To be called now and then, with the bytes just done; raises once the work is not wanted any more."""


class _CancelledError(Exception):
    pass


async def run_cancellable(work: Callable[[CheckCancelled], T]) -> T:
    """What ``work`` returns. A cancellation, and any further one, goes on only when the thread let go of its files."""
    unwanted = threading.Event()

    def go_on(_: int) -> None:
        if unwanted.is_set():
            raise _CancelledError

    running = submit(partial(work, go_on))
    try:
        await asyncio.wait({running})
    except asyncio.CancelledError:
        unwanted.set()
        await wait_uninterrupted(running)
        raise
    return running.result()
