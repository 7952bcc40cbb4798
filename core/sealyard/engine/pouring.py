"""Bytes that come in on a loop, written in threads: in batches, one behind the other, in constant memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeVar

from sealyard.files.threads import begun, to_its_end

T = TypeVar("T")

BATCH = 1 << 20
"""Bytes given to a thread at once; a second batch fills while one is written."""

SYNC = 32 << 20
"""Bytes between two times that what was written is made durable, beside the writing: never more than twice as many
are not."""


async def in_thread(work: Callable[[], T]) -> T:
    """Done to its end even where who waits is cancelled: the cancellation goes on behind it."""
    running = begun(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await to_its_end(running)
        raise


async def pour(chunks: AsyncIterator[bytes], write: Callable[[bytearray], None], sync: Callable[[], None]) -> None:
    """Gives all that comes to ``write``, in order and never twice at once; ``sync`` may run at the same time.

    What came before the chunks broke off, or before a cancellation, is written too. What any of the three raises
    is raised.
    """
    batch, unsynced = bytearray(), 0
    writing = syncing = begun(lambda: None)
    try:
        async for chunk in chunks:
            batch += chunk
            if len(batch) < BATCH:
                continue
            await asyncio.shield(writing)
            writing = begun(partial(write, batch))
            unsynced += len(batch)
            batch = bytearray()
            if unsynced >= SYNC:
                await asyncio.shield(syncing)
                syncing, unsynced = begun(sync), 0
    finally:
        await asyncio.shield(writing)
        if batch:
            await in_thread(partial(write, batch))
        await asyncio.shield(syncing)
