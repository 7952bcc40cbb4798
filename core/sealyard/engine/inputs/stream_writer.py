"""Write an async byte stream from worker threads, in order, in batches, in constant memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

from sealyard.concurrency.threads import run_uncancellable, submit

BATCH_BYTES = 1 << 20
"""Size of the batches that a thread writes, in bytes. While one batch is being written, the next one is filled."""

SYNC_INTERVAL_BYTES = 32 << 20
"""Number of bytes between two syncs.

Bytes are written during a sync, so that up to twice as many bytes are not durable yet.
"""


async def write_stream(
    chunks: AsyncIterator[bytes], write: Callable[[bytearray], None], sync: Callable[[], None]
) -> None:
    """Pass all chunks to ``write``, in order and one call at a time, and call ``sync`` from time to time.

    Both are called in worker threads; a call of ``sync`` can overlap with one of ``write``. If ``chunks`` fails or the
    caller is cancelled, the chunks received before are still written. Raises what ``chunks``, ``write`` or ``sync``
    raises.
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
