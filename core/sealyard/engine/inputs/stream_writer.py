"""Bytes that come in on a loop, written in threads: in batches, one behind the other, in constant memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeVar

from sealyard.concurrency.threads import submit, wait_uninterrupted

T = TypeVar("T")

BATCH_BYTES = 1 << 20
"""Bytes given to a thread at once; a second batch fills while one is written."""

SYNC_INTERVAL_BYTES = 32 << 20
"""Bytes between two times that what was written is made durable, beside the writing: never more than twice as many
are not."""


async def run_uncancellable(work: Callable[[], T]) -> T:
    """Done to its end even where who waits is cancelled: the cancellation goes on behind it."""
    running = submit(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await wait_uninterrupted(running)
        raise


async def write_stream(
    chunks: AsyncIterator[bytes], write: Callable[[bytearray], None], sync: Callable[[], None]
) -> None:
    """Gives all that comes to ``write``, in order and never twice at once; ``sync`` may run at the same time.

    What came before the chunks broke off, or before a cancellation, is written too. What any of the three raises
    is raised.
    """
    batch, unsynced = bytearray(), 0
    writing = syncing = submit(lambda: None)
    try:
        async for chunk in chunks:
            batch += chunk
            if len(batch) < BATCH_BYTES:
                continue
            await asyncio.shield(writing)
            writing = submit(partial(write, batch))
            unsynced += len(batch)
            batch = bytearray()
            if unsynced >= SYNC_INTERVAL_BYTES:
                await asyncio.shield(syncing)
                syncing, unsynced = submit(sync), 0
    finally:
        await asyncio.shield(writing)
        if batch:
            await run_uncancellable(partial(write, batch))
        await asyncio.shield(syncing)
