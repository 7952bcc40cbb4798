"""Write an async byte stream from worker threads, in order, in batches, in constant memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

from sealyard.concurrency.threads import run_uncancellable, submit

BATCH_BYTES = 1 << 20
"""Size of the batches that a thread writes, in bytes. The next batch fills while one is being written."""

SYNC_INTERVAL_BYTES = 32 << 20
"""Number of bytes between two syncs, which run concurrently with writing.

At most twice as many bytes are not durable yet.
"""


async def write_stream(
    chunks: AsyncIterator[bytes], write: Callable[[bytearray], None], sync: Callable[[], None]
) -> None:
    """Pass all chunks to ``write``, in order and one call at a time. ``sync`` may run at the same time.

    The chunks received before ``chunks`` fails, or before a cancellation, are written as well. Raises what ``chunks``,
    ``write`` or ``sync`` raises.
    """
    batch, unsynced_bytes = bytearray(), 0
    write_future = sync_future = submit(lambda: None)
    try:
        async for chunk in chunks:
            batch += chunk
            if len(batch) < BATCH_BYTES:
                continue
            await asyncio.shield(write_future)
            write_future = submit(partial(write, batch))
            unsynced_bytes += len(batch)
            batch = bytearray()
            if unsynced_bytes >= SYNC_INTERVAL_BYTES:
                await asyncio.shield(sync_future)
                sync_future, unsynced_bytes = submit(sync), 0
    finally:
        await asyncio.shield(write_future)
        if batch:
            await run_uncancellable(partial(write, batch))
        await asyncio.shield(sync_future)
