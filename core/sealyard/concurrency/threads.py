"""Run blocking file operations in worker threads.

A thread cannot be cancelled, so a cancelled caller must still wait until its thread has finished.
"""

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
    """Run ``work`` in a worker thread, with a copy of the caller's context variables.

    Returns a future, not a task: cancelling all tasks of the loop would end a task while its thread is still running.
    """
    return asyncio.get_running_loop().run_in_executor(None, copy_context().run, work)


async def wait_uninterrupted(future: asyncio.Future[Any]) -> None:
    """Wait for ``future`` and ignore any cancellation of the caller. Does not raise the future's exception."""
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({future})
    if not future.cancelled():
        future.exception()  # asyncio logs an error for a future whose exception was never retrieved


async def run_uncancellable(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread and return its result.

    If the caller is cancelled, wait for the thread before re-raising the cancellation.
    """
    future = submit(work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await wait_uninterrupted(future)
        raise


CheckCancelled = Callable[[int], None]
"""A function that work in a thread calls repeatedly, with the number of bytes processed since the last call.

The function raises an exception once the caller that waits for the work has been cancelled.
"""


class _CancelledError(Exception):
    pass


async def run_cancellable(work: Callable[[CheckCancelled], T]) -> T:
    """Run ``work`` in a worker thread and return its result.

    ``work`` must call the function that it receives (see :data:`CheckCancelled`) repeatedly. If the caller is
    cancelled, that function raises in the thread, and :class:`asyncio.CancelledError` is raised here only after the
    thread has finished and closed its files, even if the caller is cancelled again meanwhile.
    """
    cancel_event = threading.Event()

    def check_cancelled(_: int) -> None:
        if cancel_event.is_set():
            raise _CancelledError

    future = submit(partial(work, check_cancelled))
    try:
        await asyncio.wait({future})
    except asyncio.CancelledError:
        cancel_event.set()
        await wait_uninterrupted(future)
        raise
    return future.result()
