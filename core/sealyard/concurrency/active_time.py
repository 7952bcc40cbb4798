"""Timeouts that do not count the time during which this process was suspended."""

from __future__ import annotations

import asyncio
from typing import Any

MAX_STEP_SECONDS = 1.0


async def wait_active(future: asyncio.Future[Any], seconds: float) -> bool:
    """Wait for ``future``, but at most ``seconds`` during which this process was running; return whether it is done.

    A process that was stopped or whose machine was suspended has not read what others sent meanwhile, so this time says
    nothing about them. Does not cancel ``future``.
    """
    loop = asyncio.get_running_loop()
    step = min(MAX_STEP_SECONDS, seconds / 10)
    remaining = seconds
    while remaining > 0 and not future.done():
        step_started_at = loop.time()
        await asyncio.wait({future}, timeout=min(step, remaining))
        remaining -= min(loop.time() - step_started_at, 2 * step)
    return future.done()


async def sleep_active(seconds: float) -> None:
    """Sleep until this process has been running for ``seconds``."""
    await wait_active(asyncio.get_running_loop().create_future(), seconds)
