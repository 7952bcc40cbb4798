"""Long work on files in a thread, that ends when who waits for it is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sealyard.files.threads import submit, wait_uninterrupted

T = TypeVar("T")

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
