"""Work that several callers may want at the same time is done once, for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from sealyard.client.protocol import ProgressCallback

T = TypeVar("T")

PROGRESS_SECONDS = 0.1


class ThrottledProgress:
    """Tells all listeners of bytes done: at most ten times a second, and at the end."""

    def __init__(self) -> None:
        self.listeners: list[ProgressCallback] = []
        self._told = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._told >= PROGRESS_SECONDS:
            self._told = now
            self._tell(done, total)

    def end(self, total: int) -> None:
        self._tell(total, total)

    def _tell(self, done: int, total: int) -> None:
        for listener in self.listeners:
            listener(done, total)


class _Running(Generic[T]):
    def __init__(self, work: asyncio.Task[T], tell: ThrottledProgress) -> None:
        self.work = work
        self.tell = tell
        self.waiting = 0


class CoalescedCalls(Generic[T]):
    """By key, on one event loop. The work is cancelled when nobody waits for it any more."""

    def __init__(self) -> None:
        self._running: dict[str, _Running[T]] = {}

    async def run(
        self, key: str, begin: Callable[[ThrottledProgress], Coroutine[Any, Any, T]], progress: ProgressCallback | None
    ) -> T:
        """Waits for the work that runs under this key, or begins it."""
        running = self._running.get(key) or self._begin(key, begin)
        if progress is not None:
            running.tell.listeners.append(progress)
        running.waiting += 1
        try:
            return await asyncio.shield(running.work)
        finally:
            running.waiting -= 1
            if not running.waiting and not running.work.done():
                self._forget(key, running)
                running.work.cancel()
                await asyncio.wait({running.work})

    def _begin(self, key: str, begin: Callable[[ThrottledProgress], Coroutine[Any, Any, T]]) -> _Running[T]:
        tell = ThrottledProgress()
        running = _Running(asyncio.create_task(begin(tell)), tell)
        running.work.add_done_callback(lambda _: self._forget(key, running))
        self._running[key] = running
        return running

    def _forget(self, key: str, running: _Running[T]) -> None:
        if self._running.get(key) is running:
            del self._running[key]
