"""Being asked to stop, for commands that run until they are."""

from __future__ import annotations

import asyncio
import signal


def stopping() -> asyncio.Event:
    """Set by SIGINT or SIGTERM, which from now on do nothing else."""
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    return stop
