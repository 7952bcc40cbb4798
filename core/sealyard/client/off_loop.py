"""Long work on files in a thread, that ends when who waits for it is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

GoOn = Callable[[int], None]
"""To be called now and then, with the bytes just done; raises once the work is not wanted any more."""


class _CancelledError(Exception):
    pass


async def off_loop(work: Callable[[GoOn], T]) -> T:
    """What ``work`` returns. A cancellation goes on only when the thread has let go of its files."""
    unwanted = threading.Event()

    def go_on(_: int) -> None:
        if unwanted.is_set():
            raise _CancelledError

    running = asyncio.ensure_future(asyncio.to_thread(work, go_on))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        unwanted.set()
        await asyncio.gather(running, return_exceptions=True)
        raise
