"""Share one run of an operation among callers that request it at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from sealyard.client.protocol import ProgressCallback

T = TypeVar("T")

PROGRESS_SECONDS = 0.1
"""Minimum interval between two progress reports."""


class ThrottledProgress:
    """Reports the bytes done to all listeners: at most ten times a second, and at the end."""

    def __init__(self) -> None:
        self.listeners: list[ProgressCallback] = []
        self._reported_at = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._reported_at >= PROGRESS_SECONDS:
            self._reported_at = now
            self._report(done, total)

    def end(self, total: int) -> None:
        self._report(total, total)

    def _report(self, done: int, total: int) -> None:
        for listener in self.listeners:
            listener(done, total)


class _SharedCall(Generic[T]):
    """A running call with its progress and the number of callers that wait for it."""

    def __init__(self, work: asyncio.Task[T], progress: ThrottledProgress) -> None:
        self.work = work
        self.progress = progress
        self.waiters = 0


class CoalescedCalls(Generic[T]):
    """Calls shared by key, on one event loop. A call is cancelled when its last waiter is cancelled."""

    def __init__(self) -> None:
        self._calls: dict[str, _SharedCall[T]] = {}

    async def run(
        self, key: str, start: Callable[[ThrottledProgress], Coroutine[Any, Any, T]], progress: ProgressCallback | None
    ) -> T:
        """Wait for the call that runs under this key; if there is none, run ``start``.

        ``progress`` is added to the listeners of the call.
        """
        call = self._calls.get(key) or self._start(key, start)
        if progress is not None:
            call.progress.listeners.append(progress)
        call.waiters += 1
        try:
            return await asyncio.shield(call.work)
        finally:
            call.waiters -= 1
            if not call.waiters and not call.work.done():
                self._remove(key, call)
                call.work.cancel()
                await asyncio.wait({call.work})

    def _start(self, key: str, start: Callable[[ThrottledProgress], Coroutine[Any, Any, T]]) -> _SharedCall[T]:
        progress = ThrottledProgress()
        call = _SharedCall(asyncio.create_task(start(progress)), progress)
        call.work.add_done_callback(lambda _: self._remove(key, call))
        self._calls[key] = call
        return call

    def _remove(self, key: str, call: _SharedCall[T]) -> None:
        if self._calls.get(key) is call:
            del self._calls[key]
