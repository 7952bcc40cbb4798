"""Long work on files in a thread, that ends when who waits for it is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sealyard.files.threads import begun, to_its_end

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

    running = begun(partial(work, go_on))
    try:
        await asyncio.wait({running})
    except asyncio.CancelledError:
        unwanted.set()
        await to_its_end(running)
        raise
    return running.result()
