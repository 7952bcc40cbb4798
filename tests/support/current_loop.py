"""Runs an engine on the event loop of the test, where its fake clock and fake bus are moved."""

from __future__ import annotations

import asyncio

from sealyard.concurrency.loop_thread import LoopThread


class CurrentLoop(LoopThread):
    """A :class:`LoopThread` without a thread: calls run on the event loop that creates it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
